/* talk_sim.h - what a client says, appended to its output; part of client_sim.h, for client_sim.c only. */
#pragma once

#include "tests/sim/client_sim.h"

void talk_request(struct client *client);
void talk_client_info(struct client *client);
void talk_watch(struct client *client);

/* The next of what it plans to say; counts down plan.sends. */
void talk_something(struct client *client);
/* One packet of the kind that it sends. */
void talk_packet(struct client *client);
/* One packet, whose last held_size bytes are not to be written yet. */
void talk_held_packet(struct client *client);

/* The beginning of a frame that will never be finished: not a packet for the oracle. */
void talk_half_a_frame(struct client *client);
void talk_wrong_length(struct client *client);
void talk_mesh_frame(struct client *client);
