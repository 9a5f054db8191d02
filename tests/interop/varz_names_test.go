package interop

// What derper 1.104.5 shows at /debug/varz after one request over TLS: types, and names with labels, in its order.
// Left out is what is Go's own.
const derperVarzText = `
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total
# TYPE process_max_fds gauge
process_max_fds
# TYPE process_network_receive_bytes_total counter
process_network_receive_bytes_total
# TYPE process_network_transmit_bytes_total counter
process_network_transmit_bytes_total
# TYPE process_open_fds gauge
process_open_fds
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes
# TYPE process_start_time_seconds gauge
process_start_time_seconds
# TYPE process_virtual_memory_bytes gauge
process_virtual_memory_bytes
# TYPE process_virtual_memory_max_bytes gauge
process_virtual_memory_max_bytes
# TYPE bootstrap_dns_published_hits counter
bootstrap_dns_published_hits
# TYPE bootstrap_dns_published_misses counter
bootstrap_dns_published_misses
# TYPE bootstrap_dns_queried_domains counter
bootstrap_dns_queried_domains
# TYPE bootstrap_dns_requests counter
bootstrap_dns_requests
# TYPE bootstrap_dns_unpublished_hits counter
bootstrap_dns_unpublished_hits
# TYPE bootstrap_dns_unpublished_misses counter
bootstrap_dns_unpublished_misses
# TYPE bootstrap_dns_unpublished_percent_misses counter
bootstrap_dns_unpublished_percent_misses
# TYPE derp_accepts counter
derp_accepts
derp_average_queue_duration_ms
# TYPE derp_bytes_received counter
derp_bytes_received
# TYPE derp_bytes_sent counter
derp_bytes_sent
# TYPE derp_buffered_write_frames histogram
derp_buffered_write_frames_bucket{le="0"}
derp_buffered_write_frames_bucket{le="1"}
derp_buffered_write_frames_bucket{le="2"}
derp_buffered_write_frames_bucket{le="3"}
derp_buffered_write_frames_bucket{le="4"}
derp_buffered_write_frames_bucket{le="5"}
derp_buffered_write_frames_bucket{le="6"}
derp_buffered_write_frames_bucket{le="7"}
derp_buffered_write_frames_bucket{le="8"}
derp_buffered_write_frames_bucket{le="9"}
derp_buffered_write_frames_bucket{le="10"}
derp_buffered_write_frames_bucket{le="15"}
derp_buffered_write_frames_bucket{le="20"}
derp_buffered_write_frames_bucket{le="25"}
derp_buffered_write_frames_bucket{le="50"}
derp_buffered_write_frames_bucket{le="100"}
derp_buffered_write_frames_bucket{le="+Inf"}
derp_buffered_write_frames_sum
derp_buffered_write_frames_count
# TYPE derp_mesh_update_batch_size histogram
derp_mesh_update_batch_size_bucket{le="0"}
derp_mesh_update_batch_size_bucket{le="1"}
derp_mesh_update_batch_size_bucket{le="2"}
derp_mesh_update_batch_size_bucket{le="5"}
derp_mesh_update_batch_size_bucket{le="10"}
derp_mesh_update_batch_size_bucket{le="20"}
derp_mesh_update_batch_size_bucket{le="50"}
derp_mesh_update_batch_size_bucket{le="100"}
derp_mesh_update_batch_size_bucket{le="200"}
derp_mesh_update_batch_size_bucket{le="500"}
derp_mesh_update_batch_size_bucket{le="1000"}
derp_mesh_update_batch_size_bucket{le="+Inf"}
derp_mesh_update_batch_size_sum
derp_mesh_update_batch_size_count
# TYPE derp_mesh_update_loop_count histogram
derp_mesh_update_loop_count_bucket{le="0"}
derp_mesh_update_loop_count_bucket{le="1"}
derp_mesh_update_loop_count_bucket{le="2"}
derp_mesh_update_loop_count_bucket{le="5"}
derp_mesh_update_loop_count_bucket{le="10"}
derp_mesh_update_loop_count_bucket{le="20"}
derp_mesh_update_loop_count_bucket{le="50"}
derp_mesh_update_loop_count_bucket{le="100"}
derp_mesh_update_loop_count_bucket{le="+Inf"}
derp_mesh_update_loop_count_sum
derp_mesh_update_loop_count_count
# TYPE derp_packets_received_kind counter
derp_packets_received_kind{kind="disco"}
derp_packets_received_kind{kind="other"}
# TYPE derp_tcp_rtt counter
# TYPE derp_total_dup_client_conns counter
derp_total_dup_client_conns
# TYPE derp_clients_local gauge
derp_clients_local
# TYPE derp_clients_remote gauge
derp_clients_remote
# TYPE derp_clients_total gauge
derp_clients_total
# TYPE derp_current_connections gauge
derp_current_connections
# TYPE derp_current_dup_client_conns gauge
derp_current_dup_client_conns
# TYPE derp_current_dup_client_keys gauge
derp_current_dup_client_keys
# TYPE derp_current_file_descriptors gauge
derp_current_file_descriptors
# TYPE derp_current_home_connections gauge
derp_current_home_connections
# TYPE derp_current_notideal_connections gauge
derp_current_notideal_connections
# TYPE derp_memstats_sys0 gauge
derp_memstats_sys0
# TYPE derp_watchers gauge
derp_watchers
# TYPE derp_got_ping counter
derp_got_ping
# TYPE derp_home_moves_in counter
derp_home_moves_in
# TYPE derp_home_moves_out counter
derp_home_moves_out
# TYPE derp_multiforwarder_created counter
derp_multiforwarder_created
# TYPE derp_multiforwarder_deleted counter
derp_multiforwarder_deleted
# TYPE derp_packet_forwarder_delete_other_value counter
derp_packet_forwarder_delete_other_value
# TYPE derp_packets_forwarded_in counter
derp_packets_forwarded_in
# TYPE derp_packets_forwarded_out counter
derp_packets_forwarded_out
# TYPE derp_packets_received counter
derp_packets_received
# TYPE derp_packets_sent counter
derp_packets_sent
# TYPE derp_peer_gone_disconnected_frames counter
derp_peer_gone_disconnected_frames
# TYPE derp_peer_gone_not_here_frames counter
derp_peer_gone_not_here_frames
# TYPE derp_sclient_write_timeouts counter
derp_sclient_write_timeouts
# TYPE derp_sent_pong counter
derp_sent_pong
# TYPE derp_unknown_frames counter
derp_unknown_frames
# TYPE derp_bytes_dropped counter
derp_bytes_dropped{reason="dup_client",kind="disco"}
derp_bytes_dropped{reason="dup_client",kind="other"}
derp_bytes_dropped{reason="gone_disconnected",kind="disco"}
derp_bytes_dropped{reason="gone_disconnected",kind="other"}
derp_bytes_dropped{reason="queue_head",kind="disco"}
derp_bytes_dropped{reason="queue_head",kind="other"}
derp_bytes_dropped{reason="queue_tail",kind="disco"}
derp_bytes_dropped{reason="queue_tail",kind="other"}
derp_bytes_dropped{reason="unknown_dest",kind="disco"}
derp_bytes_dropped{reason="unknown_dest",kind="other"}
derp_bytes_dropped{reason="unknown_dest_on_fwd",kind="disco"}
derp_bytes_dropped{reason="unknown_dest_on_fwd",kind="other"}
derp_bytes_dropped{reason="write_error",kind="disco"}
derp_bytes_dropped{reason="write_error",kind="other"}
# TYPE derp_packets_dropped counter
derp_packets_dropped{reason="dup_client",kind="disco"}
derp_packets_dropped{reason="dup_client",kind="other"}
derp_packets_dropped{reason="gone_disconnected",kind="disco"}
derp_packets_dropped{reason="gone_disconnected",kind="other"}
derp_packets_dropped{reason="queue_head",kind="disco"}
derp_packets_dropped{reason="queue_head",kind="other"}
derp_packets_dropped{reason="queue_tail",kind="disco"}
derp_packets_dropped{reason="queue_tail",kind="other"}
derp_packets_dropped{reason="unknown_dest",kind="disco"}
derp_packets_dropped{reason="unknown_dest",kind="other"}
derp_packets_dropped{reason="unknown_dest_on_fwd",kind="disco"}
derp_packets_dropped{reason="unknown_dest_on_fwd",kind="other"}
derp_packets_dropped{reason="write_error",kind="disco"}
derp_packets_dropped{reason="write_error",kind="other"}
# TYPE derp_websocket_accepts counter
derp_websocket_accepts
# TYPE derper_tls_active_version gauge
derper_tls_active_version{version="1.3"}
derper_tls_request_version{version="1.3"}
node_boot_time_seconds
process_start_unix_time
# TYPE stun_addrfamily counter
stun_addrfamily{family="ipv4"}
stun_addrfamily{family="ipv6"}
# TYPE stun_no_local_addr counter
stun_no_local_addr
# TYPE stun_requests counter
stun_requests{disposition="not_stun"}
stun_requests{disposition="read_error"}
stun_requests{disposition="success"}
stun_requests{disposition="write_error"}
# TYPE tls_listener_accepted_connections counter
tls_listener_accepted_connections
# TYPE tls_listener_rejected_connections counter
tls_listener_rejected_connections
# TYPE uptime_sec counter
uptime_sec
`
