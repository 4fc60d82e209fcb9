/*
 * One delivery: a committed reply on its way to a chat, part by part. The inlines
 * follow begin_delivery, renew_delivery, send_begin and send_end, the processes
 * handlers/deliver.go.
 *
 * Each fault costs one of FAULTS, so that every execution must come to an end. What a
 * carrier may do depends on ENDING: without it, one can come at any time.
 *
 * With FAILOVER, a replica becomes the master once and knows only what it was waited
 * for, and what came before that.
 */

#ifndef PARTS
#define PARTS 2
#endif
#ifndef WORKERS
#define WORKERS 2
#endif
#ifndef FAULTS
#define FAULTS 3
#endif
#define MAX_RETRIES 1

#define GONE (WORKERS + 1)
#define ME   (_pid)

byte faults = FAULTS;
#define MAY_FAIL faults > 0
#define SPEND    faults--
#ifdef MUTANT_WAITS_FOR_EVER
#define MAY_WAIT true
#else
#define MAY_WAIT MAY_FAIL -> SPEND /* how often is bounded by a day */
#endif

/* The name of a promise, always false, makes the checker say which one was broken. */
#define PROMISE(name, condition) assert(name || (condition))
hidden byte sent_once, told_right, never_overtaken, delivery_ends;

mtype = { waiting, running, done };
mtype = { none, delivered, failed, unknown };
mtype = { valid, expired, seen_once, seen_long, dead };
mtype = { unsent, begun, sent };

typedef Delivery {
  mtype state = waiting;
  mtype outcome = none;
  mtype lease = valid;
  mtype part[PARTS] = unsent;
  byte partEpoch[PARTS];
  byte partToken[PARTS];
  unsigned epoch : 3;
  unsigned token : 2;
  unsigned endedEpoch : 3;
  unsigned retries : 2;
};

Delivery d;
bit carrier;

/* What really happened. */
bit out[PARTS];      /* sent, and not answered with "surely not arrived" */
bit arrived[PARTS];
bit doubt;           /* somebody died, froze or got no answer */
bit froze[WORKERS + 2]; /* by token: the sender missed its renewals */

#ifdef FAILOVER
Delivery replica;
bit failedOver;
#define OVERTAKEN_OK (froze[ME] || failedOver)

inline copy(to, from) {
  to.state = from.state;
  to.outcome = from.outcome;
  to.lease = from.lease;
  to.epoch = from.epoch;
  to.token = from.token;
  to.endedEpoch = from.endedEpoch;
  to.retries = from.retries;
  for (x : 0 .. PARTS - 1) {
    to.part[x] = from.part[x];
    to.partEpoch[x] = from.partEpoch[x];
    to.partToken[x] = from.partToken[x]
  }
}
#define REPLICATE \
  if \
  :: !failedOver -> copy(replica, d) \
  :: else \
  fi
#else
#define OVERTAKEN_OK froze[ME]
#define REPLICATE skip
#endif
#ifdef MUTANT_BEGIN_NOT_WAITED_FOR
#define BEGIN_REPLICATE skip
#else
#define BEGIN_REPLICATE REPLICATE
#endif

/* Registers, cleared at the end of each step. */
bit got;
bit open;
byte x;
inline clear() { got = 0; open = 0; x = 0 }

/* end_delivery is the only way a delivery ends. */
inline end_delivery(how) {
  d.state = done;
  d.outcome = how;
  d.token = 0;
  d.lease = valid;
  PROMISE(told_right, how != unknown || doubt); /* nobody is told "unknown" who could know */
  for (x : 0 .. PARTS - 1) {
    PROMISE(told_right, how != delivered || arrived[x])
  }
}

/* begin_delivery gives the next attempt to the worker w, or not: got. */
inline begin_delivery(w) {
  got = false;
  open = false;
  for (x : 0 .. PARTS - 1) {
    if
    :: d.part[x] == begun -> open = true
    :: else
    fi
  }
#ifdef MUTANT_REPEAT_BEGUN
  open = false;
#endif
  if
  :: d.state == running && d.token == w -> got = true /* a resend */
#ifdef MUTANT_NO_LEASE
#define TAKEN_OVER (d.state == running && d.token != w)
#else
#define TAKEN_OVER (d.state == running && d.token != w && d.lease == dead)
#endif
  :: TAKEN_OVER && open -> end_delivery(unknown)
  :: TAKEN_OVER && !open && d.retries >= MAX_RETRIES -> end_delivery(failed)
  :: d.state == waiting || (TAKEN_OVER && !open && d.retries < MAX_RETRIES) ->
     if
     :: d.state == running -> d.retries++
     :: else
     fi;
     d.epoch++;
     d.state = running;
     d.token = w;
     d.lease = valid;
     got = true
  :: else
  fi
}

inline renew_delivery(e) {
  got = d.state == running && d.epoch == e;
  if
  :: got -> d.lease = valid
  :: else
  fi
}

/* send_begin notes that a part is about to be sent: got, else the sender stops. */
inline send_begin(e, p, w) {
#ifdef MUTANT_NO_EPOCH
  got = d.state == running;
#else
  got = d.state == running && d.epoch == e;
#endif
  if
  :: !got
  :: got && d.part[p] == sent
#ifdef MUTANT_NO_SEND_TOKEN
  :: got && d.part[p] == begun && d.partEpoch[p] != e -> end_delivery(unknown); got = false
  :: got && (d.part[p] == unsent || (d.part[p] == begun && d.partEpoch[p] == e)) ->
#elif defined(MUTANT_SEND_RESENT)
  :: got && d.part[p] == begun -> end_delivery(unknown); got = false
  :: got && d.part[p] == unsent ->
#elif defined(MUTANT_REPEAT_BEGUN)
  :: got && d.part[p] != sent ->
#else
  :: got && d.part[p] == begun && (d.partEpoch[p] != e || d.partToken[p] != w) ->
     end_delivery(unknown);
     got = false
  :: got && (d.part[p] == unsent || (d.part[p] == begun && d.partEpoch[p] == e && d.partToken[p] == w)) ->
#endif
     d.part[p] = begun;
     d.partEpoch[p] = e;
     d.partToken[p] = w;
     d.lease = valid
  fi
}

#define SENT    0 /* confirmed; the last part ends the delivery */
#define COUNTED 1 /* surely not arrived; again */
#define FREE    2 /* the same, and it does not count */
#define FAILED  3
#define UNKNOWN 4

/* send_end notes what became of a part: got unless fenced. */
inline send_end(e, p, what) {
  got = false;
  if
  :: d.endedEpoch == e && d.epoch == e -> got = true /* a resend */
#ifdef MUTANT_NO_EPOCH
  :: !(d.endedEpoch == e && d.epoch == e) && d.state == running ->
#else
  :: !(d.endedEpoch == e && d.epoch == e) && d.state == running && d.epoch == e ->
#endif
     got = true;
     if
     :: what == SENT && p < PARTS - 1 -> d.part[p] = sent
     :: what == SENT && p == PARTS - 1 -> d.part[p] = sent; d.endedEpoch = e; end_delivery(delivered)
     :: what == UNKNOWN -> d.endedEpoch = e; end_delivery(unknown)
     :: else ->
        d.endedEpoch = e;
        if
#ifdef MUTANT_FORGET_ANY_PART
        :: true ->
#else
        :: d.part[p] == begun && d.partEpoch[p] == e ->
#endif
           d.part[p] = unsent;
           d.partEpoch[p] = 0;
           d.partToken[p] = 0
        :: else
        fi;
        if
        :: what == FAILED || (what == COUNTED && d.retries >= MAX_RETRIES) -> end_delivery(failed)
        :: what == FREE && MAY_FAIL -> SPEND; end_delivery(failed) /* for a day */
        :: what != FAILED && !(what == COUNTED && d.retries >= MAX_RETRIES) ->
           if
           :: what == COUNTED -> d.retries++
           :: else
           fi;
           d.state = waiting;
           d.token = 0;
           d.lease = valid
        fi
     fi
  :: else
  fi
}

inline forget() {
  if
  :: d.token == ME -> d.token = GONE
  :: else
  fi;
  for (x : 0 .. PARTS - 1) {
    if
    :: d.partToken[x] == ME -> d.partToken[x] = GONE
    :: else
    fi
#ifdef FAILOVER
    ;
    if
    :: replica.partToken[x] == ME -> replica.partToken[x] = GONE
    :: else
    fi
#endif
  }
#ifdef FAILOVER
  if
  :: replica.token == ME -> replica.token = GONE
  :: else
  fi;
#endif
  froze[ME] = false;
  asked = false;
  epoch = 0;
  p = 0;
  next = 0;
  clear()
}

/* first_unsent is where an attempt goes on, as the begin told it. */
inline first_unsent() {
  p = 0;
  do
  :: p < PARTS - 1 && d.part[p] == sent -> p++
  :: else -> break
  od
}

proctype Worker() {
  byte epoch;
  byte p;
  byte next; /* what send_end is told */
  bit asked; /* it was told before */

end: /* handle */
  atomic {
#ifdef ENDING
    carrier;
    carrier = false;
#else
    d.state == waiting || (d.state == running && d.token != ME);
#endif
    begin_delivery(ME);
    if
    :: !got -> forget(); goto end
    :: got -> BEGIN_REPLICATE; epoch = d.epoch; first_unsent(); clear(); goto attempt
    :: got && MAY_FAIL -> SPEND; clear(); goto ask_again
    fi
  };

ask_again: /* the client library asks again, with the same token */
  atomic {
    begin_delivery(ME);
    if
    :: got -> BEGIN_REPLICATE; epoch = d.epoch; first_unsent(); clear(); goto attempt
    :: !got -> forget(); goto end
    fi
  };

attempt:
  atomic {
    if
    :: goto begin_part
    :: next = COUNTED; goto over /* the channel is not connected */
    :: MAY_WAIT -> next = FREE; goto over /* or busy */
    :: MAY_FAIL -> SPEND; doubt = true; forget(); goto end /* crashed */
    fi
  };

begin_part: /* the last act before the request is written */
  atomic {
    send_begin(epoch, p, ME);
    if
    :: !got -> forget(); goto end /* fenced, or unknown */
    :: got && d.part[p] == sent ->
       if
       :: p < PARTS - 1 -> p++; clear(); goto begin_part
       :: else -> forget(); goto end
       fi
    :: got && d.part[p] == begun -> REPLICATE; clear(); goto send
    :: got && MAY_FAIL -> SPEND; clear(); goto begin_part /* the answer was lost */
    fi
  };

send: /* a sender that freezes here sends whatever happened meanwhile */
  atomic {
    if
    :: true -> PROMISE(sent_once, !out[p]); out[p] = true /* nor what may have arrived */
    :: MAY_FAIL -> SPEND; doubt = true; forget(); goto end /* crashed */
    fi
  };

sending:
  atomic {
    if
    :: d.lease != valid || d.state != running || d.epoch != epoch ->
       renew_delivery(epoch);
       if
       :: got -> clear(); goto sending
       :: !got -> goto fenced /* and called off in time */
       :: !got -> arrived[p] = true; goto fenced
       fi
    :: arrived[p] = true; next = SENT
    :: out[p] = false; next = COUNTED
    :: MAY_WAIT -> out[p] = false; next = FREE /* asked to wait */
    :: out[p] = false; next = FAILED
    :: doubt = true; next = UNKNOWN
    :: doubt = true; arrived[p] = true; next = UNKNOWN
    :: MAY_FAIL -> SPEND; doubt = true; forget(); goto end /* crashed before it arrived */
    :: MAY_FAIL -> SPEND; doubt = true; arrived[p] = true; forget(); goto end
    fi
  };

over:
  atomic {
    send_end(epoch, p, next);
    if
    :: !got -> goto fenced
    :: got && next == SENT && p < PARTS - 1 -> next = 0; p++; clear(); goto begin_part
    :: got && !(next == SENT && p < PARTS - 1) -> forget(); goto end
    :: got && MAY_FAIL -> SPEND; asked = true; clear(); goto over /* the answer was lost */
    :: MAY_FAIL -> SPEND; doubt = true; forget(); goto end /* crashed, or gave up */
    fi;
fenced:
    /* A second question may be told so: the next attempt can have begun. */
    PROMISE(never_overtaken, asked || OVERTAKEN_OK);
    forget();
    goto end
  }
}

proctype Sweeper() {
end:
  do
#ifdef MUTANT_ONE_LOOK
  :: atomic { d.state == running && d.lease == expired -> d.lease = dead }
#else
  :: atomic { d.state == running && d.lease == expired -> d.lease = seen_once }
#endif
  :: atomic { d.state == running && d.lease == seen_long -> d.lease = dead }
#ifdef MUTANT_WAITING_NOT_CARRIED
  :: atomic { d.state == running && d.lease == dead && !carrier -> carrier = true }
#elif defined(ENDING)
  :: atomic { (d.state == waiting || (d.state == running && d.lease == dead)) && !carrier -> carrier = true }
#endif
  od
}

/* A lease runs out because its sender is gone, froze, or Redis stood still. */
proctype Time() {
end:
  do
  :: atomic { d.state == running && d.lease == valid && d.token == GONE -> d.lease = expired }
  :: atomic { d.state == running && d.lease == seen_once && d.token == GONE -> d.lease = seen_long }
  :: atomic { d.state == running && d.lease == valid && d.token != GONE && MAY_FAIL -> SPEND; doubt = true; froze[d.token] = true; d.lease = expired }
  :: atomic { d.state == running && d.lease == seen_once && d.token != GONE && MAY_FAIL -> SPEND; doubt = true; froze[d.token] = true; d.lease = seen_long }
  :: atomic { d.state == running && (d.lease == valid || d.lease == seen_once || d.lease == seen_long) && MAY_FAIL -> SPEND; d.lease = expired }
#ifdef ENDING
  :: atomic { carrier && MAY_FAIL -> SPEND; carrier = false }
  :: atomic { !carrier && MAY_FAIL -> SPEND; carrier = true }
#endif
#ifdef FAILOVER
  :: atomic {
       !failedOver -> failedOver = true;
       doubt = true;
       copy(d, replica);
       if
       :: d.state == running -> d.lease = expired
       :: else
       fi;
       clear()
     }
#endif
  od
}

#ifdef ENDING
/* Judge: when nothing moves any more, the delivery has an outcome. */
proctype Judge() {
end:
  atomic { timeout -> PROMISE(delivery_ends, d.state == done) }
}
#endif

init {
  atomic {
    for (x : 1 .. WORKERS) { run Worker() }
    run Sweeper();
    run Time();
#ifdef ENDING
    run Judge();
#endif
    clear()
  }
}
