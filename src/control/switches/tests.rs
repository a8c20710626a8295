//! A table of cases in the small language of `words`.

mod properties;
mod words;

use super::*;
use crate::vocab::Clock;
use words::*;

#[test]
fn throwing_and_changing_the_mode_is_immediate() {
    play(
        "0 => 
         1 s1=drop => s1=drop
         2 s1=reject c1=drop => c1=drop s1=reject
         3 s1=reject c1=drop tier:core=drop => c1=drop s1=reject tier:core=drop",
    );
}

#[test]
fn a_key_that_disappears_ends_after_a_calm_second() {
    play(
        "0 s1=drop s2=drop => s1=drop s2=drop
         100 s2=drop => s1=drop s2=drop
         1099 s2=drop => s1=drop s2=drop
         1100 s2=drop => s2=drop
         1200 => s2=drop
         2200 => ",
    );
}

#[test]
fn every_edit_begins_the_second_again() {
    play(
        "0 s1=drop => s1=drop
         100 => s1=drop
         1000 s2=drop => s1=drop s2=drop
         1999 s2=drop => s1=drop s2=drop
         2000 s2=drop => s2=drop",
    );
}

#[test]
fn nothing_ends_while_the_file_is_broken_or_away() {
    play(
        "0 s1=drop => s1=drop
         100 gone => s1=drop
         5000 gone => s1=drop
         5100 !! => s1=drop
         9000 !! => s1=drop
         9100 garbage => s1=drop
         12000 garbage => s1=drop
         12100 -kill => s1=drop
         15000 -kill => s1=drop
         15100 !s1 => s1=drop
         18000 !s1 => s1=drop
         18100 => s1=drop
         19100 => ",
    );
}

#[test]
fn the_second_must_be_free_of_errors_throughout() {
    play(
        "0 s1=drop => s1=drop
         100 => s1=drop
         900 !! => s1=drop
         1000 => s1=drop
         1500 => s1=drop
         2000 => ",
    );
    // The same bytes, in error only under another structure.
    let routes = routes();
    let now = Clock::now();
    let mut switches = Switches::default();
    let mut see = |words: &str, digest, ms| {
        let read = file(words);
        let seen = Seen {
            digest,
            read: &read,
        };
        switches.observe(Some(seen), ground(&routes), at(now, ms));
        super::tests::words(switches.entries())
    };
    assert_eq!(see("s1=drop", 1, 0), "s1=drop");
    assert_eq!(see("!s2", 2, 100), "s1=drop");
    assert_eq!(see("s2=drop", 2, 5000), "s1=drop s2=drop");
    assert_eq!(see("s2=drop", 2, 6000), "s2=drop");
}

#[test]
fn off_is_immediate_in_a_good_file_and_waits_in_a_broken_one() {
    play(
        "0 s1=drop s2=drop => s1=drop s2=drop
         1 s1=off s2=drop => s1=off s2=drop
         2 s1=off s2=off !! => s1=off s2=drop
         3 s1=off s2=off => s1=off s2=off",
    );
}

#[test]
fn off_in_a_broken_file_is_taken_where_it_restores_nothing() {
    play(
        "0 c1=off tier:core=drop !! => c1=off tier:core=drop
         1 c1=off c2=off tier:core=drop !! => c1=off tier:core=drop
         2 c1=off tier:core=off !! => c1=off tier:core=drop
         3 c1=off s1=off tier:core=drop !! => c1=off s1=off tier:core=drop",
    );
}

#[test]
fn an_entry_that_is_inert_for_a_killed_route_counts_as_restoring() {
    play(
        "0 tier:sheddable=drop => tier:sheddable=drop
         1 tier:sheddable=inert !! => tier:sheddable=drop
         2 x1=inert !! => x1=inert tier:sheddable=drop
         3 tier:sheddable=inert => x1=inert tier:sheddable=drop
         1003 tier:sheddable=inert => tier:sheddable=inert",
    );
}

#[test]
fn a_smaller_share_waits_and_a_larger_one_does_not() {
    play(
        "0 s1=drop:50 => s1=drop:50
         1 s1=drop:80 !! => s1=drop:80
         2 s1=drop:5 !! => s1=drop:80
         5000 s1=drop:5 !! => s1=drop:80
         5001 s1=drop:5 => s1=drop:80
         6000 s1=drop:5 => s1=drop:80
         6001 s1=drop:5 => s1=drop:5
         6002 s1=reject:5 => s1=reject:5",
    );
}

#[test]
fn a_condition_that_comes_waits_and_one_that_goes_does_not() {
    play(
        "0 s1=drop => s1=drop
         1 s1=drop?q => s1=drop
         1001 s1=drop?q => s1=drop?q
         1002 s1=drop !! => s1=drop",
    );
}

#[test]
fn a_list_that_is_shortened_waits() {
    play(
        "0 s1=drop?a+drop?b => s1=drop?a+drop?b
         1 s1=drop?a => s1=drop?a+drop?b
         1001 s1=drop?a => s1=drop?a
         1002 s1=drop?a+drop?b !! => s1=drop?a+drop?b
         1003 s1=drop?b+drop?a !! => s1=drop?b+drop?a",
    );
}

#[test]
fn what_is_added_to_a_list_holds_although_what_is_taken_from_it_waits() {
    play(
        "0 s1=drop?a => s1=drop?a
         1 s1=drop?b !! => s1=drop?b+drop?a
         2 s1=drop?b => s1=drop?b+drop?a
         1002 s1=drop?b => s1=drop?b
         1003 s1=drop:50 => s1=drop?b+drop:50
         2003 s1=drop:50 => s1=drop:50
         2004 s1=drop?a+drop:5 !! => s1=drop?a+drop:50",
    );
}

#[test]
fn an_end_that_comes_nearer_waits_and_one_that_goes_does_not() {
    play(
        "0 s1=drop => s1=drop
         1 s1=drop@90000 => s1=drop
         1001 s1=drop@90000 => s1=drop@90000
         1002 s1=drop@80000 !! => s1=drop@90000
         1003 s1=drop@99000 !! => s1=drop@99000
         1004 s1=drop !! => s1=drop",
    );
}

#[test]
fn a_switch_that_expired_kills_nothing_and_may_become_anything() {
    play(
        "0 s1=drop@500 => s1=drop@500
         499 s1=drop:5 !! => s1=drop@500
         500 s1=drop:5 !! => s1=drop:5
         501 s1=drop:50@600 !! => s1=drop:50@600+drop:5
         502 s1=reject@600+drop:5 !! => s1=reject@600+drop:5",
    );
}

#[test]
fn a_dry_run_in_the_place_of_a_switch_waits_and_the_other_way_does_not() {
    play(
        "0 s1=drop => s1=drop
         1 s1=drop~ => s1=drop
         1001 s1=drop~ => s1=drop~
         1002 s1=drop !! => s1=drop
         1003 s1=drop+reject~ !! => s1=drop+reject~",
    );
}

#[test]
fn a_plan_is_thrown_at_once_and_off_in_a_good_file() {
    play(
        "0 plan:p=on/x1,s1 !! => plan:p=on/s1,x1
         1 plan:p=off/x1,s1 !! => plan:p=on/s1,x1
         2 plan:p=off/x1,s1 => plan:p=off/s1,x1
         3 plan:p=on/x1,s1 => plan:p=on/s1,x1
         4 => plan:p=on/s1,x1
         1004 => ",
    );
}

#[test]
fn a_plan_keeps_what_it_lost_and_has_what_it_gained() {
    play(
        "0 plan:p=on/x1 => plan:p=on/x1
         1 plan:p=on/x1,s1 !! => plan:p=on/s1,x1
         2 plan:p=on/s1 !! => plan:p=on/s1,x1
         3 !plan:p => plan:p=on/s1,x1
         9000 !plan:p => plan:p=on/s1,x1
         9001 plan:p=on~/x1,s1 => plan:p=on/s1,x1
         10001 plan:p=on~/x1,s1 => plan:p=on~/s1,x1
         10002 plan:p=on@60000/x1 => plan:p=on@60000/x1",
    );
}

#[test]
fn off_over_a_tier_restores_and_a_list_that_begins_with_off_may_be_cut() {
    play(
        "0 tier:sheddable=drop => tier:sheddable=drop
         1 tier:sheddable=drop x1=off?q => tier:sheddable=drop
         2 tier:sheddable=drop x1=off !! => tier:sheddable=drop
         3 tier:sheddable=drop x1=off => x1=off tier:sheddable=drop
         4 tier:sheddable=drop x1=off?q+drop !! => x1=off?q+drop tier:sheddable=drop
         5 tier:sheddable=drop x1=off => x1=off?q+drop tier:sheddable=drop
         1005 tier:sheddable=drop x1=off => x1=off tier:sheddable=drop",
    );
}

#[test]
fn the_order_of_keys_does_not_matter() {
    // x1 may let go because the tier, which comes later, kills what it did.
    play(
        "0 x1=drop => x1=drop
         1 x1=drop?q tier:sheddable=drop !! => x1=drop?q tier:sheddable=drop
         2 x1=off x2=drop plan:p=on/x1 !! => x1=drop?q x2=drop tier:sheddable=drop plan:p=on/x1",
    );
}

#[test]
fn a_neighbour_in_error_refuses_no_throw() {
    play(
        "0 !s1 s2=drop => s2=drop
         1 !s1 !s2 x1=reject => s2=drop x1=reject
         2 garbage c1=drop => c1=drop s2=drop x1=reject",
    );
}

#[test]
fn what_is_held_is_known() {
    let routes = routes();
    let now = Clock::now();
    let mut switches = Switches::default();
    for (words, held) in [
        ("s1=drop s2=drop", vec![]),
        ("s1=off !s2 x1=drop", vec!["s1", "s2"]),
        ("x1=drop", vec!["s1", "s2"]),
        ("x1=drop c1=off?q+off !!", vec!["s1", "s2"]),
        ("tier:core=drop c1=inert !!", vec!["s1", "s2", "x1"]),
        ("tier:core=drop c1=off !!", vec!["c1", "s1", "s2", "x1"]),
    ] {
        let read = file(words);
        let seen = Seen {
            digest: digest(words),
            read: &read,
        };
        switches.observe(Some(seen), ground(&routes), at(now, 0));
        let names: Vec<String> = switches.held().iter().map(ToString::to_string).collect();
        assert_eq!(names, held, "{words}");
    }
    switches.observe(None, ground(&routes), at(now, 0));
    assert_eq!(switches.held().len(), switches.entries().len());
}

#[test]
fn what_the_gateway_threw_by_itself_is_restored_by_off_in_a_good_file_alone() {
    for off in ["s1=off", "tier:standard=off"] {
        play(&format!(
            "0 ^s1@90000 =>
             1 ^s1@90000 {off} !! =>
             5000 ^s1@90000 {off} !! =>
             5001 ^s1@90000 {off} !x1 =>
             5002 ^s1@90000 {off} => {off}",
        ));
    }
    // It may be written beside an error before there is anything to restore.
    play(
        "0 s1=off !! => s1=off
         1 s1=off s2=off ^s2@90000 !! => s1=off",
    );
}

#[test]
fn what_lets_through_a_part_of_what_the_gateway_threw_waits_for_a_calm_second() {
    for part in [
        "s1=drop:50",
        "s1=off?a",
        "s1=off@70000",
        "tier:standard=off?a",
    ] {
        play(&format!(
            "0 ^s1@90000 =>
             1 ^s1@90000 {part} =>
             1000 ^s1@90000 {part} =>
             1001 ^s1@90000 {part} => {part}",
        ));
    }
    // What kills no less holds at once, and once the automatic kill is over so does the rest.
    play(
        "0 ^s1@1000 =>
         1 ^s1@1000 s1=reject !! => s1=reject
         2 ^s1@1000 s1=reject s2=drop:5 !! => s1=reject s2=drop:5",
    );
    play(
        "0 ^s1@1000 s1=drop:50 !! =>
         999 ^s1@1000 s1=drop:50 !! =>
         1000 ^s1@1000 s1=drop:50 !! => s1=drop:50",
    );
}
