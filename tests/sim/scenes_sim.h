/* scenes_sim.h - what clients do in a run, one scene after the other (tests/sim/run_sim.h).
 *
 * Each scene plans its clients by the seed, lets them play until rest, and judges what is special to it.
 * Threads: one. Errors: sim_fail.
 */
#pragma once

#include "tests/sim/run_sim.h"

/* Two clients log in one after the other and exchange a packet. Nothing goes wrong. */
void scene_first_packet(struct run *run);

/* Several clients at any time, all to all. In gentle runs a key each, and they stay; else keys are shared and come
 * again, and clients leave in all ways. In stress besides: two or three of the acts of scenes_sim.c. */
void scene_traffic(struct run *run);

/* The same, and the relay stops after a while, whatever is under way. */
void scene_stop_in_the_middle(struct run *run);

/* Over a minute passes. */
void scene_keep_alives(struct run *run);

/* Everybody goes; the relay is empty. */
void scene_all_leave(struct run *run);

/* After all that has happened two new clients are served as the first ones were. The relay is empty again. */
void scene_last_guests(struct run *run);
