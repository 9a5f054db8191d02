/* place.h - where and how urgently the calling thread runs. Errors: false and a sentence in `why` (PLACE_WHY_MAX). */
#pragma once

#include "core/base.h"

#define PLACE_WHY_MAX 256

/* On this CPU only; -1: as it is. */
must_use bool place_pin(int cpu, char *why);

/* Before all others (SCHED_FIFO), with memory that is never paged out. */
must_use bool place_realtime(char *why);
