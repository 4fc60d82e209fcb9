/*
 * Runs: from a due slot to a terminal record, with everything between going wrong.
 * scripts.pml has the scripts that the processes below call.
 *
 * Without ENDING, everything may happen at any time and any number of times: what
 * must never happen is asserted. With ENDING, workers still crash at will, but each
 * other fault costs one of FAULTS, and a look that changes nothing is no step: so
 * every execution must come to an end, in which every slot has its record. The
 * checker then looks for cycles, and for ends that the judge refuses.
 */

#define SKIP            1
#define ALLOW           2
#define QUEUE_ONE       3
#define CANCEL_PREVIOUS 4

#ifndef OVERLAP
#define OVERLAP SKIP
#endif
#ifndef SLOTS
#define SLOTS 2     /* of the first job */
#endif
#ifndef OTHERS
#define OTHERS 0    /* of a second job, in the same session */
#endif
#ifndef WORKERS
#define WORKERS 2
#endif
#ifndef FAULTS
#define FAULTS 2
#endif
#ifndef MAX_RETRIES
#define MAX_RETRIES 1
#endif
#ifndef MAX_ATTEMPTS
#define MAX_ATTEMPTS 3
#endif

#define RUNS    (SLOTS + OTHERS)
#define JOBS    2
#define JOB(r)  ((r) >= SLOTS)
#define END(j)  (SLOTS + (j) * OTHERS)
#define NOBODY  RUNS
#define GONE    (WORKERS + 1)
#define ME      (_pid)

#define NEVER     0
#define COUNTED   1
#define UNCOUNTED 2

#ifdef ENDING
byte faults = FAULTS;
#define MAY_FAIL      faults > 0
#define SPEND         faults--
#define CARRIED(r)    rec[r].carrier
#define NO_CARRIER(r) !rec[r].carrier
#else
#define MAY_FAIL      true
#define SPEND         skip
#define CARRIED(r)    true   /* any carrier, any number of times, also much later */
#define NO_CARRIER(r) false
#endif

/* EACH(M) is M of every run, an option each; ANY(M) that it holds for some run. */
#if RUNS == 1
#define EACH(M) M(0)
#define ANY(M)  (M(0))
#elif RUNS == 2
#define EACH(M) M(0) M(1)
#define ANY(M)  (M(0) || M(1))
#elif RUNS == 3
#define EACH(M) M(0) M(1) M(2)
#define ANY(M)  (M(0) || M(1) || M(2))
#elif RUNS == 4
#define EACH(M) M(0) M(1) M(2) M(3)
#define ANY(M)  (M(0) || M(1) || M(2) || M(3))
#endif

#include "scripts.pml"

/*
 * never_overtaken: a worker that neither froze nor was cancelled finds itself fenced
 * never: what it paid for is committed, and nobody calls the model beside it.
 */

/* forget: no later question of this worker has the tokens of this attempt. */
inline forget() {
  if
  :: rec[r].token == ME -> rec[r].token = GONE
  :: else
  fi;
  if
  :: rec[r].committer == ME -> rec[r].committer = 0
  :: else
  fi;
  if
  :: rec[r].epoch == epoch -> rec[r].failedEpoch = 0
  :: else
  fi;
  froze[ME] = false;
  asked = false;
  r = 0;
  epoch = 0;
  clear()
}

/* call: the request is written, by whoever passed the last check of the lease. */
inline call() {
  PROMISE(one_call, !rec[r].called || rec[r].epoch != epoch);
  PROMISE(never_overtaken, (rec[r].state == running && rec[r].epoch == epoch) || froze[ME] || rec[r].stopped);
  PROMISE(paid_once, rec[r].commits == 0 || froze[ME]);
#ifdef AMBIGUOUS_FAILS
  PROMISE(ambiguous_ends, !rec[r].ambiguous || froze[ME]);
#endif
  if
  :: rec[r].state == running && rec[r].epoch == epoch -> rec[r].called = true
  :: else
  fi
}

#define TAKE(i) :: CARRIED(i) -> r = i

proctype Worker() {
  byte r;
  byte epoch;
  byte retry = NEVER;
  bit doubtful;
  bit asked;

end: /* handle */
  atomic {
    if
    EACH(TAKE)
    fi;
#ifdef ENDING
    rec[r].carrier = false;
#endif
ask:
    claim(r, ME);
    if
    :: !got -> forget(); goto end
    :: got -> epoch = rec[r].epoch; clear(); goto begun_attempt
    :: got && MAY_FAIL -> SPEND; clear(); goto ask_again
    fi
  };

ask_again: /* the answer was lost; the same token gets it again */
  atomic {
    if
    :: goto ask
    :: true -> forget(); goto end /* crashed */
    fi
  };

begun_attempt: /* the last act before the request is written is to confirm the lease */
  atomic {
    if
    :: goto confirm
    :: true -> forget(); goto end /* crashed */
    fi;
confirm:
    renew(r, epoch);
    if
    :: got -> clear(); goto confirmed
    :: else -> goto fenced
    fi
  };

confirmed: /* a worker that freezes here calls whatever happened meanwhile */
  atomic { call(); goto calling };

calling:
  atomic {
    if
    :: rec[r].lease != valid || rec[r].state != running || rec[r].epoch != epoch ->
       renew(r, epoch);
       if
       :: got -> clear(); goto calling
       :: else -> goto fenced
       fi
    :: goto reply
    :: retry = COUNTED; doubtful = true; goto failure /* broken off, or shutdown */
    :: retry = COUNTED; goto failure
    :: retry = UNCOUNTED; goto failure /* rate limited */
    :: retry = NEVER; goto failure /* permanent, or timed out */
    :: true -> forget(); goto end /* crashed in the middle of the call */
    fi;
reply:
    commit(r, epoch, ME);
    if
    :: !got -> goto fenced
    :: got -> forget(); goto end
    :: got && MAY_FAIL -> SPEND; clear(); goto commit_again
    fi;
failure:
    fail(r, epoch, retry, doubtful);
    retry = NEVER;
    doubtful = false;
    if
    :: !got && asked -> forget(); goto end
    :: !got && !asked -> goto fenced
    :: got -> forget(); goto end
    :: got && !asked && MAY_FAIL -> SPEND; clear(); goto fail_again
    fi;
fenced:
    PROMISE(never_overtaken, froze[ME] || rec[r].stopped);
    forget();
    goto end
  };

commit_again: /* the answer was lost */
  atomic { goto reply };

fail_again: /* may be told that it is fenced: the next attempt can have begun */
  atomic { asked = true; goto failure }
}

/*
 * Emitter: rings for the slot that the cursor stands on, or passes it over (collapse).
 * How many emitters there are makes no difference: they read, and the script compares.
 */
#define NEXT(j) (cursor[j] != END(j))

#ifdef MUTANT_COLLAPSE_BLIND
#define COLLAPSE(j) \
  :: atomic { seen[j] != cursor[j] -> seen[j] = cursor[j] } \
  :: atomic { seen[j] != END(j) && MAY_FAIL -> SPEND; record(seen[j]); cursor[j] = seen[j] + 1 }
byte seen[JOBS];
#else
#define COLLAPSE(j) \
  :: atomic { NEXT(j) && MAY_FAIL -> SPEND; record(cursor[j]); cursor[j] = cursor[j] + 1 }
#endif

#define EMIT(j) \
  :: atomic { NEXT(j) && due[j] && !rec[cursor[j]].carrier -> rec[cursor[j]].carrier = true }

proctype Emitter() {
end:
  do
  COLLAPSE(0)
  COLLAPSE(1)
#ifdef ENDING
  EMIT(0)
  EMIT(1)
#endif
  od
}

/* Sweeper: all the looks of the deployment. */
#define LOOK(i) :: atomic { LOOK_MOVES(i) -> look(i); clear() }

proctype Sweeper() {
end:
  do
  EACH(LOOK)
  od
}

/*
 * A lease runs out, or is seen expired for long, because its worker is gone or frozen:
 * one that lives renews it in time. Only a Redis that stands still can be in its way.
 */
#define MISSED(r, was, now) \
  :: atomic { rec[r].state == running && rec[r].lease == was && (rec[r].token == GONE || MAY_FAIL) -> \
       if \
       :: rec[r].token == GONE \
       :: else -> SPEND; froze[rec[r].token] = true \
       fi; \
       rec[r].lease = now \
     }
#define RUNS_OUT(i)  MISSED(i, valid, expired)
#define STAYS_OUT(i) MISSED(i, seen_once, seen_long)
#define HELD(i)      (rec[i].state == running && rec[i].lease != expired && rec[i].lease != dead)
#define LOSE(i)      :: atomic { CARRIED(i) && MAY_FAIL -> SPEND; rec[i].carrier = false }
#define DOUBLE(i)    :: atomic { i < cursor[JOB(i)] && !CARRIED(i) && MAY_FAIL -> SPEND; rec[i].carrier = true }

proctype Time() {
end:
  do
  EACH(RUNS_OUT)
  EACH(STAYS_OUT)
  :: atomic { /* Redis stands still for longer than a lease */
       ANY(HELD) && MAY_FAIL ->
       SPEND;
       for (x : 0 .. RUNS - 1) {
         if
#ifdef MUTANT_NO_GAP
         :: rec[x].state == running && rec[x].lease == seen_once -> rec[x].lease = seen_long
#else
         :: rec[x].state == running && (rec[x].lease == seen_once || rec[x].lease == seen_long) -> rec[x].lease = expired
#endif
         :: rec[x].state == running && rec[x].lease == valid -> rec[x].lease = expired
         :: else
         fi
       }
       clear()
     }
#ifdef ENDING
  EACH(LOSE)
  EACH(DOUBLE)
#endif
  od
}

#ifdef CANCEL
/* A request to cancel some run. */
#ifdef MUTANT_CANCEL_DONE
#define STOPPABLE(i) (UNFINISHED(i) || rec[i].state == done)
#else
#define STOPPABLE(i) UNFINISHED(i)
#endif
#define STOP(i) :: atomic { STOPPABLE(i) -> stop(i); clear(); break }

proctype Canceller() {
end:
  do
  EACH(STOP)
  od
}
#endif

#ifdef PAUSE
/* Somebody pauses the first job, which passes over what is due, and resumes it. */
proctype Api() {
  byte seen;
  byte upTo;

edit:
  seen = cursor[0];
  atomic {
    if
#ifndef MUTANT_EDIT_BLIND
    :: seen != cursor[0] -> goto edit
    :: seen == cursor[0] ->
#else
    :: true ->
#endif
       paused = true;
       upTo = seen;
       do
       :: upTo < SLOTS -> record(upTo); upTo++
       :: break
       od;
       cursor[0] = SLOTS
    fi
  };
  atomic { paused = false; cursor[0] = upTo; upTo = 0; seen = 0 }
}
#endif

#ifdef ENDING
/* Judge: when nothing moves any more, every slot has its record and nobody waits. */
proctype Judge() {
end:
  atomic {
    timeout ->
    for (x : 0 .. RUNS - 1) {
      PROMISE(every_slot_ends, rec[x].state == done || rec[x].state == dropped)
    }
    clear()
  }
}
#endif

init {
  atomic {
    cursor[1] = SLOTS;
#ifdef MUTANT_COLLAPSE_BLIND
    seen[1] = SLOTS;
#endif
    for (x : 1 .. WORKERS) { run Worker() }
    run Emitter();
    run Sweeper();
    run Time();
#ifdef CANCEL
    run Canceller();
#endif
#ifdef PAUSE
    run Api();
#endif
#ifdef ENDING
    run Judge();
#endif
    clear()
  }
}
