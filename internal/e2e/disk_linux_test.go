package e2e

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gatewaycron/gatewaycron/internal/standin"
)

// TestServeOnAFullDisk: the disk fills up while a turn is under way. Its reply is kept
// until there is room, and the turn is made once; another that is asked for meanwhile
// begins only then.
func TestServeOnAFullDisk(t *testing.T) {
	t.Parallel()
	w := alone(t)
	if err := unix.Mount("tmpfs", w.stateDir, "tmpfs", 0, "size=32m"); err != nil {
		t.Skipf("needs a small disk of its own, and may not mount one: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(w.stateDir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	called, finish := make(chan struct{}, 8), make(chan struct{})
	reply := strings.Repeat("a long reply ", 20_000)
	w.standIns(func(standin.ChatCall) standin.Answer {
		called <- struct{}{}
		<-finish
		return standin.Answer{Text: reply}
	})
	serve := w.start("serve", "GATEWAY_CRON_MIN_FREE_BYTES=8388608")
	ids := make([]string, 2)
	for n := range ids {
		ids[n] = serve.create(map[string]any{"schedule": "0 0 1 1 *", "task": "long"})
	}
	if status := serve.call("POST", "/api/cron/jobs/"+ids[0]+"/run", "", nil); status != 202 {
		t.Fatalf("run: %d", status)
	}
	<-called

	filler := filepath.Join(w.stateDir, "filler")
	fill(t, filler, 1<<20) // a little stays, so that the request is taken
	if status := serve.call("POST", "/api/cron/jobs/"+ids[1]+"/run", "", nil); status != 202 {
		t.Fatalf("run: %d", status)
	}
	logged := func(line string) func() bool {
		return func() bool { return strings.Contains(serve.Log.String(), line) }
	}
	w.until("a turn is held", time.Minute, logged("no turn begins, because the disk has too little room"))
	fill(t, filler, 0)
	close(finish)
	w.until("redis finds no room for the reply", time.Minute, logged("redis ended, it is started again"))
	if h := serve.status(); !h.has("disk_full") {
		t.Errorf("health %+v", h)
	}

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	w.until("both replies are on record", 2*time.Minute, func() bool {
		for _, id := range ids {
			var list struct{ Runs []runView }
			if serve.call("GET", "/api/cron/jobs/"+id+"/runs", "", &list) != 200 || list.Runs[0].Outcome != "succeeded" {
				return false
			}
		}
		return true
	})
	for _, id := range ids {
		var r runView
		serve.call("GET", "/api/cron/runs/"+serve.runs(id)[0].ID, "", &r)
		if r.Reply != reply || len(r.Attempts) != 1 {
			t.Errorf("run %s: a reply of %d bytes after %d attempts", r.ID, len(r.Reply), len(r.Attempts))
		}
	}

	// A start on a full disk, with a turn to begin.
	fill(t, filler, 1<<20)
	if status := serve.call("POST", "/api/cron/jobs/"+ids[0]+"/run", "", nil); status != 202 {
		t.Fatalf("run: %d", status)
	}
	fill(t, filler, 0)
	serve.Kill()
	again := exec.Command(binary, "serve")
	again.Env = []string{"GATEWAY_CRON_MIN_FREE_BYTES=8388608"}
	serve, ready := w.begin(again) // whether it gets so far before the first write is chance
	w.until("it ends over its first write, and is started again", time.Minute, func() bool {
		return strings.Count(serve.Log.String(), "redis ended, it is started again") > 1
	})
	if n := len(w.ai.Calls()); n != 2 {
		t.Errorf("%d calls for two runs, the third of which has no room", n)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	ready()
	// If Redis was gone before its task could be given back, asynq finds it: its lease is
	// over after 30 s, and asynq looks for such every minute.
	w.until("the third turn is made", 3*time.Minute, func() bool { return len(w.ai.Calls()) == 3 })
	serve.Stop()
}

// fill writes a file until the disk is full, and then gives some of it back.
func fill(t *testing.T, path string, back int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	chunk := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(chunk)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil && back > 0 {
		err = f.Truncate(max(0, size-back))
	}
	if err != nil {
		t.Fatal(err)
	}
}
