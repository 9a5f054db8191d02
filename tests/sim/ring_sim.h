/* ring_sim.h - what the simulator knows of a simulated ring beyond core/ring.h. */
#pragma once

#include "core/ring.h"

/* Receive buffers of rings opened from now on: at most so many, of at most so many bytes. Scarce and small ones make
 * sockets park and frames straddle. */
void ring_sim_scarcity(unsigned buffers_max, unsigned buffer_size_max);

/* Everything is back: no request under way but `requests`, no buffer with the owner. */
bool ring_sim_is_clean(const struct ring *ring, size_t requests);
