/*
 * The scripts of internal/store/lua that carry a run, one inline each and by the
 * same names. Each is executed in one atomic step, as Redis does. run.pml has the
 * processes that call them, and README.md says what is left out.
 *
 * The MUTANT_ definitions each take one rule out; the checker must object, and to what
 * is written in scripts/model.sh.
 */

/* The name of a promise, always false, makes the checker say which one was broken. */
#define PROMISE(name, condition) assert(name || (condition))
hidden byte one_record, one_commit, own_epoch, ends_once, bounded;
hidden byte one_call, never_overtaken, paid_once, ambiguous_ends;
hidden byte one_holder, no_overlap, pause_holds, committed_stays, cancelled_stays;
hidden byte every_slot_ends;

mtype = { none, dropped, waiting, parked, queued, running, done };
mtype = { succeeded, failed, cancelled };

/*
 * A lease as the looks know it. There is no clock: that time passes is a step, and
 * seen_long is a lease seen expired for longer than DEAD_AFTER without a gap.
 */
mtype = { valid, expired, seen_once, seen_long, dead };

typedef Run {
  mtype state = none;
  mtype outcome = none;
  mtype lease = valid;
  unsigned epoch : 3;
  unsigned attempt : 3;
  unsigned retries : 2;
  unsigned token : 3;       /* who began it; GONE when nobody has that token any more */
  unsigned committer : 3;   /* who committed it */
  unsigned failedEpoch : 3;
  bit wake;                 /* stands in wake */
  bit carrier;              /* a task for it is in the queue */
  /* What really happened, for the properties alone. */
  unsigned commits : 2;
  bit called;               /* the attempt called the model */
  bit ambiguous;
  bit stopped;              /* by a cancel or by the next slot */
};

Run rec[RUNS];
byte cursor[JOBS];          /* job.nextSlot; END(j) when no slot is left */
bit due[JOBS] = true;       /* false: emitted and refused, nobody rings before it is true */
bit paused;                 /* the first job */
byte holder = NOBODY;       /* lock:<session>; all runs share one session */
chan line = [RUNS] of { byte }; /* wait:<session> */
bit froze[WORKERS + 2];     /* by token: the worker missed its renewals */

/* Registers of the scripts. Each step ends with them cleared: they are no state. */
bit got;
bit again;
bit busy;
bit wasDead;
byte x;
byte y;
byte first;

inline clear() { got = 0; again = 0; busy = 0; wasDead = 0; x = 0; y = 0; first = 0 }

#ifdef AMBIGUOUS_FAILS
#define DOUBT(r) rec[r].ambiguous = true
#else
#define DOUBT(r) skip
#endif

#define UNFINISHED(r) (rec[r].state != none && rec[r].state != dropped && rec[r].state != done)
#define NEXT_SLOT(j)  (cursor[j] != END(j))

/* record_slots: a slot gets its one record without a run. */
inline record(r) {
  PROMISE(one_record, rec[r].state == none);
  rec[r].state = dropped
}

/* hand_on gives the session to its first waiting run, or frees it. */
inline hand_on() {
  holder = NOBODY;
  do
  :: empty(line) -> break
  :: nempty(line) ->
     line ? first;
     if
     :: rec[first].state == parked -> holder = first; rec[first].state = waiting; break
     :: else
     fi
  od
}

/* leave takes a run out of its session: from the queue, and as holder. */
inline leave(r) {
  if
  :: line ?? [eval(r)] -> line ?? eval(r)
  :: else
  fi;
  if
  :: holder == r -> hand_on()
  :: else
  fi
}

/* take gives the session to the run, or parks it behind the holder. */
inline take(r) {
  if
  :: holder != NOBODY && holder != r && !UNFINISHED(holder) -> hand_on()
  :: else
  fi;
#ifdef MUTANT_LOCK_IGNORED
  got = true
#else
  if
  :: holder != NOBODY && holder != r -> line ! r; rec[r].state = parked; got = false
  :: else -> holder = r; got = true
  fi
#endif
}

/* in_progress: is a run of the job unfinished? */
inline in_progress(j) {
  busy = false;
  for (x : 0 .. RUNS - 1) {
    if
    :: JOB(x) == j && UNFINISHED(x) -> busy = true
    :: else
    fi
  }
}

/* may_retry: whether the retry would come after the next slot is anybody's guess. */
inline may_retry(r, free) {
  if
#ifdef MUTANT_RETRIES_UNBOUNDED
  :: false
#else
  :: rec[r].attempt >= MAX_ATTEMPTS || (!(free) && rec[r].retries >= MAX_RETRIES) -> again = false
#endif
  :: else ->
     again = true;
     if
     :: NEXT_SLOT(JOB(r)) -> again = false
     :: true
     fi
  fi
}

/* end_run is the only way a run ends. */
inline end_run(r, how) {
  PROMISE(ends_once, rec[r].state != done);
  rec[r].state = done;
  rec[r].outcome = how;
  rec[r].token = 0;
  rec[r].lease = valid;
  rec[r].wake = false;
  rec[r].attempt = 0; /* nobody reads these of what is done */
  rec[r].retries = 0;
  rec[r].called = false;
#ifndef MUTANT_LOCK_NOT_HANDED_ON
  leave(r);
#endif
#if OVERLAP == QUEUE_ONE && !defined(MUTANT_QUEUED_NOT_WOKEN)
  for (x : 0 .. RUNS - 1) {
    if
    :: JOB(x) == JOB(r) && rec[x].state == queued -> rec[x].state = waiting
    :: else
    fi
  }
#endif
#if defined(RUN_ALL) && !defined(MUTANT_NOT_DUE_AGAIN)
  due[JOB(r)] = true;
#endif
}

/* begin_run gives the run's next attempt to the worker w, or not: got. */
inline begin_run(r, w) {
  got = false;
  again = true;
  wasDead = rec[r].state == running && rec[r].lease == dead;
#ifdef MUTANT_NO_LEASE
  wasDead = rec[r].state == running;
#endif
  if
#ifdef MUTANT_NO_TOKEN
  :: rec[r].state == running -> got = true
#else
  :: rec[r].state == running && rec[r].token == w -> got = true /* a resend */
#endif
  :: else ->
     if
#ifdef MUTANT_DONE_BEGINS
     :: rec[r].state == waiting || rec[r].state == done || wasDead ->
#else
     :: rec[r].state == waiting || wasDead ->
#endif
        if
        :: wasDead -> DOUBT(r); may_retry(r, false)
        :: else
        fi;
#if defined(AMBIGUOUS_FAILS) && !defined(MUTANT_AMBIGUOUS_RETRIED)
        again = again && !wasDead;
#endif
        if
#ifndef MUTANT_JOB_NOT_READ
        :: JOB(r) == 0 && paused -> end_run(r, cancelled)
        :: !(JOB(r) == 0 && paused) && !again -> end_run(r, failed)
        :: !(JOB(r) == 0 && paused) && again ->
#else
        :: !again -> end_run(r, failed)
        :: again ->
#endif
           if
           :: wasDead -> rec[r].retries++
           :: else
           fi;
           take(r);
           if
           :: got ->
              rec[r].attempt++;
              rec[r].epoch++;
              rec[r].state = running;
              rec[r].token = w;
              rec[r].lease = valid;
              rec[r].failedEpoch = 0;
              rec[r].called = false;
#ifndef MUTANT_NO_WAKE
              rec[r].wake = true;
#endif
              begun(r)
           :: else
           fi
        fi
     :: else /* busy, parked, queued, done, gone */
     fi
  fi
}

/* begun is what must be true when an attempt begins. */
inline begun(r) {
  PROMISE(bounded, rec[r].attempt <= MAX_ATTEMPTS);
  PROMISE(pause_holds, JOB(r) != 0 || !paused);
  for (x : 0 .. RUNS - 1) {
    if
    :: x != r ->
       PROMISE(one_holder, rec[x].state != running); /* they share the session */
#if OVERLAP != ALLOW
       PROMISE(no_overlap, JOB(x) != JOB(r) || !UNFINISHED(x) || rec[x].state == queued)
#endif
    :: else
    fi
  }
}

/* stop ends an unfinished run from outside: its worker finds itself fenced. */
inline stop(r) {
  PROMISE(committed_stays, rec[r].commits == 0);
  rec[r].stopped = true;
#ifdef MUTANT_CANCEL_UNFENCED
  rec[r].outcome = cancelled
#else
  rec[r].epoch++;
  end_run(r, cancelled)
#endif
}

inline new_run(r) {
  PROMISE(one_record, rec[r].state == none);
  rec[r].state = waiting;
#ifndef MUTANT_NO_WAKE
  rec[r].wake = true;
#endif
  cursor[JOB(r)] = r + 1
}

/* claim turns a due slot into a run and begins its first attempt. */
inline claim(r, w) {
  got = false;
  if
  :: UNFINISHED(r) || rec[r].state == done -> begin_run(r, w)
#ifdef MUTANT_NO_CURSOR_CHECK
  :: rec[r].state == none || rec[r].state == dropped ->
#else
  :: (rec[r].state == none || rec[r].state == dropped) && cursor[JOB(r)] != r /* moved */
  :: (rec[r].state == none || rec[r].state == dropped) && cursor[JOB(r)] == r ->
#endif
     in_progress(JOB(r));
#if defined(RUN_ALL)
#ifdef MUTANT_CATCH_UP_AT_ONCE
     busy = false;
#endif
     if
     :: busy -> due[JOB(r)] = false
     :: else -> new_run(r); begin_run(r, w)
     fi
#elif OVERLAP == ALLOW
     new_run(r);
     begin_run(r, w)
#elif OVERLAP == SKIP
#ifdef MUTANT_OVERLAP_IGNORED
     busy = false;
#endif
     if
     :: busy -> record(r); cursor[JOB(r)] = r + 1
     :: else -> new_run(r); begin_run(r, w)
     fi
#elif OVERLAP == QUEUE_ONE
     again = false; /* is one queued already? */
     for (x : 0 .. RUNS - 1) {
       if
       :: JOB(x) == JOB(r) && rec[x].state == queued -> again = true
       :: else
       fi
     }
#ifdef MUTANT_QUEUE_MANY
     again = false;
#endif
     if
     :: again -> record(r); cursor[JOB(r)] = r + 1
     :: !again && busy -> new_run(r); rec[r].state = queued
     :: !again && !busy -> new_run(r); begin_run(r, w)
     fi
#elif OVERLAP == CANCEL_PREVIOUS
     for (y : 0 .. RUNS - 1) {
       if
#ifdef MUTANT_CANCEL_DONE
       :: JOB(y) == JOB(r) && y != r && (UNFINISHED(y) || rec[y].state == done) -> stop(y)
#else
       :: JOB(y) == JOB(r) && UNFINISHED(y) -> stop(y)
#endif
       :: else
       fi
     }
     new_run(r);
     begin_run(r, w)
#endif
  fi
}

/* renew keeps the lease of an attempt, and forgets what looks have seen of it. */
inline renew(r, e) {
#ifdef MUTANT_NO_EPOCH
  got = rec[r].state == running;
#else
  got = rec[r].state == running && rec[r].epoch == e;
#endif
  if
  :: got -> rec[r].lease = valid
  :: else
  fi
}

/* commit ends a run with its reply. */
inline commit(r, e, w) {
  got = false;
  if
#if !defined(MUTANT_NO_COMMIT_TOKEN) && !defined(MUTANT_COMMIT_TWICE)
  :: rec[r].state == done && rec[r].committer == w -> got = true /* a resend */
#endif
  :: else ->
#if defined(MUTANT_COMMIT_ANY_EPOCH)
     got = rec[r].state == running;
#elif defined(MUTANT_COMMIT_TWICE)
     got = (rec[r].state == running && rec[r].epoch == e) || rec[r].outcome == succeeded;
#elif defined(MUTANT_COMMIT_AFTER_END)
     got = rec[r].epoch == e;
#else
     got = rec[r].state == running && rec[r].epoch == e;
#endif
     if
     :: got ->
        PROMISE(one_commit, rec[r].commits == 0);
        PROMISE(cancelled_stays, !rec[r].stopped);
        PROMISE(own_epoch, rec[r].epoch == e);
        rec[r].commits++;
        rec[r].committer = w;
        end_run(r, succeeded)
     :: else
     fi
  fi
}

/* fail ends an attempt: the run waits for a retry, or ends. */
inline fail(r, e, retry, doubtful) {
  got = false;
  if
  :: rec[r].failedEpoch == e && rec[r].epoch == e -> got = true /* a resend */
  :: else ->
#ifdef MUTANT_NO_EPOCH
     got = rec[r].state == running;
#else
     got = rec[r].state == running && rec[r].epoch == e;
#endif
     if
     :: got ->
        rec[r].failedEpoch = rec[r].epoch;
        if
        :: doubtful -> DOUBT(r)
        :: else
        fi;
        may_retry(r, retry == UNCOUNTED);
#if defined(AMBIGUOUS_FAILS) && !defined(MUTANT_AMBIGUOUS_RETRIED)
        again = again && !(doubtful);
#endif
        if
        :: retry == NEVER || !again -> end_run(r, failed)
        :: else ->
           if
           :: retry == COUNTED -> rec[r].retries++
           :: else
           fi;
           rec[r].token = 0;
           rec[r].lease = valid;
           rec[r].called = false;
           leave(r);
           rec[r].state = waiting
        fi
     :: else
     fi
  fi
}

/* look_at what is unfinished. That it changes nothing is no step. */
#define LOOK_MOVES(r) (rec[r].wake && ( \
  (rec[r].state == waiting && NO_CARRIER(r)) || \
  (rec[r].state == running && (rec[r].lease == expired || rec[r].lease == seen_long)) || \
  (rec[r].state == running && rec[r].lease == dead && NO_CARRIER(r)) || \
  (rec[r].state == parked && PARKED_ALONE(r))))

#ifdef MUTANT_LOCK_NOT_HANDED_ON
#define PARKED_ALONE(r) false
#else
#define PARKED_ALONE(r) (holder == NOBODY || holder == r || !UNFINISHED(holder))
#endif

inline look(r) {
  if
  :: rec[r].state == waiting -> rec[r].carrier = true
  :: rec[r].state == parked ->
     if
     :: line ?? [eval(r)]
     :: else -> line ! r
     fi;
     hand_on()
#ifdef MUTANT_ONE_LOOK
  :: rec[r].state == running && rec[r].lease == expired -> rec[r].lease = dead
#else
  :: rec[r].state == running && rec[r].lease == expired -> rec[r].lease = seen_once
#endif
  :: rec[r].state == running && rec[r].lease == seen_long -> rec[r].lease = dead
  :: rec[r].state == running && rec[r].lease == dead -> rec[r].carrier = true
  fi
}
