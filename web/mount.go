package web

import (
	"encoding/json"
	"maps"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// apiRoot is where asynqmon's own API is.
const apiRoot = root + "/api"

// harmless are the changes that asynqmon may make in a queue of ours, all else is refused:
// to let a paused queue go on, to bring tasks up at once that wait, and to forget finished
// ones. The run's record decides what comes of a task, so none of them loses or holds up
// anything. The routes that delete one finished task are not among them: asynqmon deletes
// by the id, whatever state the task is in.
var harmless = []struct {
	method string
	path   *regexp.Regexp
}{
	{http.MethodPost, regexp.MustCompile(`^` + apiRoot + `/queues/([^/:]+):resume$`)},
	{http.MethodPost, regexp.MustCompile(`^` + apiRoot + `/queues/([^/:]+)/(?:scheduled|retry|archived)_tasks(?::run_all|:batch_run|/[^/]+:run)$`)},
	{http.MethodDelete, regexp.MustCompile(`^` + apiRoot + `/queues/([^/:]+)/completed_tasks:delete_all$`)},
}

func (d *Dashboard) isHarmless(r *http.Request) bool {
	for _, h := range harmless {
		if m := h.path.FindStringSubmatch(r.URL.Path); m != nil && r.Method == h.method && d.isOurs(m[1]) {
			return true
		}
	}
	return false
}

func (d *Dashboard) isOurs(queue string) bool { return slices.Contains(d.queues, queue) }

// instead says what to do in place of a change that is refused.
func instead(p string) string {
	switch action := p[strings.LastIndexAny(p, "/:")+1:]; {
	case action == "pause":
		return "A queue is not paused here, since its slots would be missed. " +
			"To stop everything: gateway-cron pause-all, or POST /api/cron/all/pause. One job: gateway-cron job pause JOB, or POST /api/cron/jobs/{id}/pause."
	case strings.Contains(action, "cancel"):
		return "A task is not cancelled here: the turn that it carries would go on. " +
			"To end the turn: gateway-cron run cancel RUN, or POST /api/cron/runs/{id}/cancel."
	default:
		return "Tasks and queues are neither deleted nor archived here: what a task carries would come again with another. " +
			"To be rid of it: gateway-cron job pause JOB or job rm JOB, or PATCH or DELETE /api/cron/jobs/{id}; of a run, gateway-cron run cancel RUN."
	}
}

// api serves asynqmon's API, of the queues of this deployment alone.
func (d *Dashboard) api(w http.ResponseWriter, r *http.Request) {
	p := r.URL.Path
	rest, inQueue := strings.CutPrefix(p, apiRoot+"/queues/")
	queue, _, _ := strings.Cut(rest, "/")
	switch {
	case path.Clean(p) != p:
		refuse(w, http.StatusNotFound, "There is no such path.")
	case !isReading(r) && d.readOnly:
		refuseMethod(w, "The dashboard is read-only.", "GET, HEAD")
	case !isReading(r) && !d.isHarmless(r):
		refuse(w, http.StatusForbidden, instead(p))
	case isReading(r) && inQueue && !d.isOurs(queue):
		refuse(w, http.StatusNotFound, "There is no such queue in this deployment.")
	default:
		d.answer(w, r)
	}
}

// answer has asynqmon answer, and edits what it says of all queues.
func (d *Dashboard) answer(w http.ResponseWriter, r *http.Request) {
	edit := map[string]func([]byte) ([]byte, error){
		apiRoot + "/queues":            d.onlyQueues,
		apiRoot + "/queue_stats":       d.onlyStats,
		apiRoot + "/servers":           d.processes,
		apiRoot + "/scheduler_entries": d.onlyEntries,
	}[r.URL.Path]
	if edit == nil {
		d.monitor.ServeHTTP(w, r)
		return
	}
	got := &capture{header: w.Header(), status: http.StatusOK}
	d.monitor.ServeHTTP(got, r)
	body := got.body.Bytes()
	if got.status == http.StatusOK && len(body) > 0 {
		edited, err := edit(body)
		if err != nil {
			d.logger.ErrorContext(r.Context(), "answer of asynqmon not understood", "path", r.URL.Path, "err", err)
			refuse(w, http.StatusInternalServerError, "The dashboard's data could not be read; the log says why.")
			return
		}
		body = edited
	}
	w.WriteHeader(got.status)
	_, _ = w.Write(body)
}

func (d *Dashboard) onlyQueues(body []byte) ([]byte, error) {
	var all struct {
		Queues []map[string]any `json:"queues"`
	}
	return edited(body, &all, func() {
		all.Queues = slices.DeleteFunc(all.Queues, func(q map[string]any) bool {
			name, _ := q["queue"].(string)
			return !d.isOurs(name)
		})
	})
}

func (d *Dashboard) onlyStats(body []byte) ([]byte, error) {
	var all struct {
		Stats map[string]json.RawMessage `json:"stats"`
	}
	return edited(body, &all, func() {
		for name := range all.Stats {
			if !d.isOurs(name) {
				delete(all.Stats, name)
			}
		}
	})
}

func (d *Dashboard) onlyEntries(body []byte) ([]byte, error) {
	var all struct {
		Entries []map[string]any `json:"entries"`
	}
	return edited(body, &all, func() {
		all.Entries = slices.DeleteFunc(all.Entries, func(e map[string]any) bool {
			options, _ := e["options"].([]any)
			return !slices.ContainsFunc(d.queues, func(q string) bool {
				return slices.Contains(options, any("Queue("+strconv.Quote(q)+")"))
			})
		})
	})
}

// process is a row of the page of servers.
type process struct {
	ID             string            `json:"id"`
	Host           string            `json:"host"`
	PID            int               `json:"pid"`
	Concurrency    int               `json:"concurrency"`
	Queues         map[string]int    `json:"queue_priorities"`
	StrictPriority bool              `json:"strict_priority_enabled"`
	Started        string            `json:"start_time"`
	Status         string            `json:"status"`
	ActiveWorkers  []json.RawMessage `json:"active_workers"`
}

// processes makes one row of the several servers that a worker has within its process.
func (d *Dashboard) processes(body []byte) ([]byte, error) {
	var all struct {
		Servers []*process `json:"servers"`
	}
	return edited(body, &all, func() {
		rows := []*process{}
		type name struct {
			host string
			pid  int
		}
		byName := map[name]*process{}
		for _, s := range all.Servers {
			for queue := range s.Queues {
				if !d.isOurs(queue) {
					delete(s.Queues, queue)
				}
			}
			row := byName[name{s.Host, s.PID}]
			switch {
			case len(s.Queues) == 0:
			case row == nil:
				byName[name{s.Host, s.PID}] = s
				rows = append(rows, s)
			default:
				row.add(s)
			}
		}
		all.Servers = rows
	})
}

func (p *process) add(s *process) {
	p.Concurrency += s.Concurrency
	maps.Copy(p.Queues, s.Queues)
	p.ActiveWorkers = append(p.ActiveWorkers, s.ActiveWorkers...)
	p.Started = min(p.Started, s.Started)
	if s.Status != "active" {
		p.Status = s.Status // one that is stopping, of a process that is
	}
}

// edited decodes body into v, changes it, and encodes it again.
func edited(body []byte, v any, change func()) ([]byte, error) {
	if err := json.Unmarshal(body, v); err != nil {
		return nil, err
	}
	change()
	return json.Marshal(v)
}
