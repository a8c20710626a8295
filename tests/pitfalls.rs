//! What proxies usually get wrong, by row of the project's list of pitfalls, and the tests that
//! cover each here; or why there is none yet.

use std::path::Path;

enum Cover {
    /// Tests of this repository, by name.
    By(&'static [&'static str]),
    /// Tests for what exists, and what does not yet.
    Partly(&'static [&'static str], &'static str),
    /// Nothing to test, and why.
    NotYet(&'static str),
}

use Cover::{By, NotYet, Partly};

const HTTP_2: &str = "HTTP/2 is not served yet";
const TUNNELS: &str = "tunnels are not opened yet";

#[rustfmt::skip]
const ROWS: &[(u8, &str, Cover)] = &[
    (1, "two framings in one message", By(&["ambiguous_framing_is_refused_and_the_connection_closed"])),
    (2, "no Host, or several", By(&["an_ambiguous_or_missing_host_or_target_is_refused"])),
    (3, "trailers that frame or route", By(&["framing_and_routing_fields_do_not_enter_through_trailers"])),
    (4, "a head without bound", By(&["a_head_that_is_too_large_is_a_431", "too_many_header_fields_are_a_431"])),
    (5, "a header timeout that never fires", By(&["a_head_that_does_not_arrive_in_time_is_a_408", "each_head_has_its_own_header_timeout"])),
    (6, "connections without bound", By(&["a_connection_too_many_is_told_so_and_closed"])),
    (7, "timers that a drip resets, or that forget the body", By(&["a_drip_of_bytes_does_not_keep_a_head_alive", "a_drip_of_bytes_does_not_keep_a_body_alive", "a_client_that_reads_slowly_but_reads_is_not_given_up"])),
    (8, "an early answer of the upstream", By(&["an_early_answer_reaches_the_client_and_its_upstream_connection_is_not_used_again"])),
    (9, "a stale pooled connection", By(&["a_get_on_a_stale_connection_is_sent_once_more_on_a_fresh_one", "a_post_that_may_have_been_processed_is_not_sent_twice"])),
    (10, "chunk extensions, tiny chunks", By(&["chunk_extensions_are_bounded", "heads_and_chunk_lines_have_a_bound"])),
    (11, "lenient lengths", By(&["ambiguous_messages_are_refused"])),
    (12, "floods of stream resets", NotYet(HTTP_2)),
    (13, "floods of continuation frames", NotYet(HTTP_2)),
    (14, "two authorities that disagree", Partly(&["an_ambiguous_or_missing_host_or_target_is_refused"], HTTP_2)),
    (15, "hop-by-hop fields", Partly(&["hop_by_hop_headers_and_those_that_connection_names_end_at_the_gateway", "hop_by_hop_headers_of_an_answer_end_at_the_gateway"], TUNNELS)),
    (16, "tunnels opened too early", Partly(&["a_websocket_is_refused_where_the_route_does_not_tunnel_it", "an_upgrade_to_http_2_is_ignored"], TUNNELS)),
    (17, "framing written twice", Partly(&["bodies_pass_byte_for_byte_both_ways_whatever_their_framing"], HTTP_2)),
    (18, "a cut body that looks complete", By(&["an_answer_cut_short_is_never_made_to_look_complete", "an_answer_without_a_length_that_ends_in_a_reset_is_not_complete", "a_client_that_goes_away_inside_its_body_leaves_nothing_that_looks_complete"])),
    (19, "interim answers", Partly(&["a_client_that_asks_first_is_told_to_go_on", "an_interim_answer_of_the_upstream_is_not_taken_for_its_final_one"], "interim answers other than 100 are not relayed yet: the client library does not show them")),
    (20, "routing on an undecoded path", By(&["every_spelling_of_a_killed_path_is_killed_or_refused"])),
    (21, "idle connections at the end", By(&["idle_connections_do_not_hold_up_the_end"])),
    (22, "one host matched, another sent on", By(&["every_spelling_of_a_killed_host_is_killed_or_refused", "an_ambiguous_or_missing_host_or_target_is_refused"])),
    (23, "control characters, nominated fields", By(&["a_malformed_head_is_refused", "nul_and_control_characters_in_a_path_are_refused", "connection_cannot_nominate_what_frames_or_routes_a_message"])),
    (24, "malformed answers handed on", By(&["an_upstream_that_does_not_speak_http_or_is_ambiguous_is_a_502"])),
    (29, "one bad file takes the rest with it", By(&["a_good_entry_takes_effect_beside_a_broken_one", "a_broken_structure_changes_nothing_and_blocks_no_flip", "a_broken_seawall_toml_never_blocks_a_flip"])),
    (31, "a second process on the port", By(&["a_second_gateway_on_the_same_address_is_refused"])),
    (32, "connections queued on a socket that closes", By(&["a_connection_that_waits_to_be_accepted_is_served_before_the_end_of_the_process"])),
    (33, "a worker that died", NotYet("nothing from outside makes a worker die; the process ends with it")),
    (34, "an uneven spread over workers", Partly(&["the_bound_on_connections_holds_for_all_workers_together"], "no figure tells the workers apart yet")),
    (35, "100 Continue sent by reading", By(&["a_client_that_asks_first_gets_its_final_answer_without_sending_the_body", "a_client_that_asks_first_and_may_not_is_refused_without_its_body"])),
    (36, "an early answer destroyed by a reset", By(&["a_chunked_body_beyond_max_body_is_answered_and_the_connection_closed", "an_answer_that_is_not_taken_yet_is_not_cut_by_the_end_of_the_process"])),
    (37, "what is held is let go too early", Partly(&["a_client_that_goes_away_inside_an_answer_frees_its_upstream_connection"], TUNNELS)),
    (38, "an upstream that never reads", By(&["an_upstream_that_never_reads_runs_into_attempt_timeout"])),
    (39, "kept slices that pin buffers", NotYet("no body is kept for a retry yet")),
    (40, "a connection pooled too early", By(&["what_an_upstream_sends_behind_its_answer_is_never_taken_for_the_next_one", "an_upstream_that_closes_idle_connections_costs_no_request"])),
    (41, "the body of a GET", By(&["a_body_of_get_passes_too"])),
    (42, "a bare LF after the last chunk", By(&["a_malformed_chunked_body_is_never_passed_on_as_a_whole_one"])),
    (43, "codings before chunked", By(&["ambiguous_framing_is_refused_and_the_connection_closed"])),
    (44, "spellings of a killed path", By(&["every_spelling_of_a_killed_path_is_killed_or_refused"])),
    (45, "zeroes taken for a frame", By(&["a_run_of_zeroes_is_no_frame"])),
    (47, "a queue that counts items, not bytes", By(&["slow_senders_take_no_more_memory_than_the_buffer_allows", "the_buffer_bounds_what_is_on_its_way_and_is_empty_afterwards"])),
    (48, "reads of our own taken for changes", By(&["reads_opens_and_partial_writes_are_no_change_and_closes_are"])),
    (49, "the first error hides the others", By(&["a_malformed_configuration_stops_the_start_with_every_error_at_once", "broken_files_are_read_entry_by_entry"])),
];

fn read(directory: &Path, text: &mut String) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read(&path, text);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            text.push_str(&std::fs::read_to_string(path).expect("a source file"));
        }
    }
}

#[test]
fn every_row_names_tests_that_exist_or_says_why_not() {
    let numbers: Vec<u8> = ROWS.iter().map(|(number, ..)| *number).collect();
    let listed = (1..=24).chain([29]).chain(31..=45).chain([47, 48, 49]);
    assert_eq!(numbers, listed.collect::<Vec<u8>>());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    read(&root.join("src"), &mut sources);
    read(&root.join("tests"), &mut sources);
    for (number, words, cover) in ROWS {
        let (tests, why) = match cover {
            By(tests) => (*tests, None),
            Partly(tests, why) => (*tests, Some(why)),
            NotYet(why) => (&[][..], Some(why)),
        };
        assert!(!tests.is_empty() || why.is_some_and(|why| !why.is_empty()));
        for test in tests {
            let there = sources.contains(&format!("fn {test}("));
            assert!(there, "row {number} ({words}): there is no test {test}");
        }
    }
}
