//! From a join to an assignment: votes, leaders, rejoining, syncing, restarts.

use super::*;

#[test]
fn the_protocol_that_all_support_and_most_prefer_is_chosen() {
    check(
        "
        0s join a range:1 sticky:2
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:1]
        1s join b sticky:3 range:4
        1s join c sticky:5 range:6 other:7
        2s rejoin a range:1 sticky:2
          > append gen=2 sticky leader=a [a b c]
          > a: joined as a gen=2 sticky leader=a [a:2 b:3 c:5]
          > b: joined as b gen=2 sticky leader=a []
          > c: joined as c gen=2 sticky leader=a []
    ",
    );
}

#[test]
fn the_lead_passes_on_when_the_leader_leaves() {
    check(
        "
        0s join a
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        1s join b
        1s rejoin a
          > append gen=2 range leader=a [a b]
          > a: joined as a gen=2 range leader=a [a:m b:m]
          > b: joined as b gen=2 range leader=a []
        2s sync b 2
        2s sync a 2 a:p0 b:p1
          > append gen=2 range leader=a [a=p0 b=p1]
          > a: synced p0
          > b: synced p1
        3s leave a
          > a: [ok]
        4s rejoin b
          > append gen=3 range leader=b [b]
          > b: joined as b gen=3 range leader=b [b:m]
        4s sync b 3 b:p0+p1
          > append gen=3 range leader=b [b=p0+p1]
          > b: synced p0+p1
    ",
    );
}

#[test]
fn an_unchanged_follower_rejoins_without_a_rebalance_and_a_leader_or_a_changed_one_with() {
    check(
        "
        0s join a
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        1s join b
        1s rejoin a
          > append gen=2 range leader=a [a b]
          > a: joined as a gen=2 range leader=a [a:m b:m]
          > b: joined as b gen=2 range leader=a []
        2s sync b 2
        2s sync a 2 a:p0 b:p1
          > append gen=2 range leader=a [a=p0 b=p1]
          > a: synced p0
          > b: synced p1
        3s rejoin b
          > b: joined as b gen=2 range leader=a []
        3s describe
          > Stable type=consumer protocol=range [a=p0 b=p1]
        4s rejoin b range:new
        4s rejoin a
          > append gen=3 range leader=a [a b]
          > a: joined as a gen=3 range leader=a [a:m b:new]
          > b: joined as b gen=3 range leader=a []
        5s sync b 3
        5s sync a 3 a:p1 b:p0
          > append gen=3 range leader=a [a=p1 b=p0]
          > a: synced p1
          > b: synced p0
        6s rejoin a
        6s describe
          > PreparingRebalance type=consumer protocol= [a= b=]
    ",
    );
}

#[test]
fn a_member_that_lost_the_answer_to_its_join_gets_it_again() {
    check(
        "
        0s join a
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        1s join b
        1s rejoin a
          > append gen=2 range leader=a [a b]
          > a: joined as a gen=2 range leader=a [a:m b:m]
          > b: joined as b gen=2 range leader=a []
        2s rejoin b
          > b: joined as b gen=2 range leader=a []
        2s rejoin a
          > a: joined as a gen=2 range leader=a [a:m b:m]
        3s rejoin b range:new
    ",
    );
}

#[test]
fn a_request_sent_twice_answers_the_first_one_too() {
    check(
        "
        0s join a
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        1s join b
        1s rejoin b
          > b: RebalanceInProgress
        1s rejoin a
          > append gen=2 range leader=a [a b]
          > a: joined as a gen=2 range leader=a [a:m b:m]
          > b: joined as b gen=2 range leader=a []
        2s sync b 2
        3s sync b 2
          > b: RebalanceInProgress
        3s sync a 2 a:p0 b:p1
          > append gen=2 range leader=a [a=p0 b=p1]
          > a: synced p0
          > b: synced p1
    ",
    );
}

#[test]
fn a_rebalance_that_starts_while_members_sync_sends_them_back() {
    check(
        "
        0s join a
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        1s join b
        1s rejoin a
          > append gen=2 range leader=a [a b]
          > a: joined as a gen=2 range leader=a [a:m b:m]
          > b: joined as b gen=2 range leader=a []
        2s sync b 2
        3s join c
          > b: RebalanceInProgress
        4s sync a 2 a:p0 b:p1
          > a: RebalanceInProgress
        4s heartbeat a 2
          > a: RebalanceInProgress
        5s rejoin b
        5s rejoin a
          > append gen=3 range leader=a [a b c]
          > a: joined as a gen=3 range leader=a [a:m b:m c:m]
          > b: joined as b gen=3 range leader=a []
          > c: joined as c gen=3 range leader=a []
    ",
    );
}

#[test]
fn members_that_never_sync_are_removed() {
    check(
        "
        0s join a session=60s rebalance=10s
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        1s join b session=60s rebalance=10s
        1s rejoin a session=60s rebalance=10s
          > append gen=2 range leader=a [a b]
          > a: joined as a gen=2 range leader=a [a:m b:m]
          > b: joined as b gen=2 range leader=a []
        2s sync a 2 a:p0 b:p1
          > append gen=2 range leader=a [a=p0 b=p1]
          > a: synced p0
        11s tick
        12s heartbeat b 2
          > b: UnknownMemberId
        12s rejoin a session=60s rebalance=10s
          > append gen=3 range leader=a [a]
          > a: joined as a gen=3 range leader=a [a:m]
    ",
    );
}

#[test]
fn a_leader_that_never_syncs_is_removed_and_the_others_rejoin() {
    check(
        "
        0s join a session=60s rebalance=10s
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        1s join b session=60s rebalance=10s
        1s rejoin a session=60s rebalance=10s
          > append gen=2 range leader=a [a b]
          > a: joined as a gen=2 range leader=a [a:m b:m]
          > b: joined as b gen=2 range leader=a []
        2s sync b 2
        11s tick
          > b: RebalanceInProgress
        12s rejoin b session=60s rebalance=10s
          > append gen=3 range leader=b [b]
          > b: joined as b gen=3 range leader=b [b:m]
    ",
    );
}

#[test]
fn a_member_that_syncs_late_finds_its_assignment_and_stays() {
    check(
        "
        0s join a session=60s rebalance=10s
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        1s join b session=60s rebalance=10s
        1s rejoin a session=60s rebalance=10s
          > append gen=2 range leader=a [a b]
          > a: joined as a gen=2 range leader=a [a:m b:m]
          > b: joined as b gen=2 range leader=a []
        2s sync a 2 a:p0
          > append gen=2 range leader=a [a=p0 b]
          > a: synced p0
        9s sync b 2
          > b: synced nothing
        20s describe
          > Stable type=consumer protocol=range [a=p0 b=]
    ",
    );
}

#[test]
fn a_sync_for_another_protocol_is_refused() {
    check(
        "
        0s join a
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        1s sync a 1 type=connect
          > a: InconsistentGroupProtocol
        1s sync a 1 protocol=sticky
          > a: InconsistentGroupProtocol
        1s sync a 1 type=consumer protocol=range a:p0
          > append gen=1 range leader=a [a=p0]
          > a: synced p0
    ",
    );
}

#[test]
fn a_member_heartbeats_while_the_leader_assigns() {
    check(
        "
        0s join a
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        1s join b
        1s rejoin a
          > append gen=2 range leader=a [a b]
          > a: joined as a gen=2 range leader=a [a:m b:m]
          > b: joined as b gen=2 range leader=a []
        2s heartbeat b 2
          > b: ok
        2s describe
          > CompletingRebalance type=consumer protocol= [a= b=]
    ",
    );
}

#[test]
fn a_restart_keeps_a_stable_group_and_its_sessions_start_anew() {
    check(
        "
        0s join a
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        1s join b
        1s rejoin a
          > append gen=2 range leader=a [a b]
          > a: joined as a gen=2 range leader=a [a:m b:m]
          > b: joined as b gen=2 range leader=a []
        2s sync b 2
        2s sync a 2 a:p0 b:p1
          > append gen=2 range leader=a [a=p0 b=p1]
          > a: synced p0
          > b: synced p1
        8s restart
        8s describe
          > Stable type=consumer protocol=range [a=p0 b=p1]
        13s heartbeat a 2
          > a: ok
        14s rejoin b
          > b: joined as b gen=2 range leader=a []
        14s sync b 2
          > b: synced p1
        22s heartbeat a 2
          > a: ok
        25s heartbeat a 2
          > a: RebalanceInProgress
        25s rejoin a
          > append gen=3 range leader=a [a]
          > a: joined as a gen=3 range leader=a [a:m]
    ",
    );
}

#[test]
fn a_restart_before_the_assignment_has_the_members_rejoin_under_a_new_generation() {
    check(
        "
        0s join a
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        1s join b
        1s rejoin a
          > append gen=2 range leader=a [a b]
          > a: joined as a gen=2 range leader=a [a:m b:m]
          > b: joined as b gen=2 range leader=a []
        2s restart
        3s sync a 2 a:p0 b:p1
          > a: RebalanceInProgress
        3s heartbeat b 2
          > b: RebalanceInProgress
        4s rejoin a
        4s rejoin b
          > append gen=3 range leader=a [a b]
          > a: joined as a gen=3 range leader=a [a:m b:m]
          > b: joined as b gen=3 range leader=a []
    ",
    );
}

#[test]
fn an_emptied_group_counts_on() {
    check(
        "
        0s join a
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        0s sync a 1 a:p0
          > append gen=1 range leader=a [a=p0]
          > a: synced p0
        20s describe
          > append gen=2 none leader=none []
          > Empty type=consumer protocol= []
        20s restart
        21s join b
          > append gen=3 range leader=b [b]
          > b: joined as b gen=3 range leader=b [b:m]
    ",
    );
}

#[test]
fn a_member_that_waits_in_a_rebalance_needs_no_heartbeat() {
    check(
        "
        0s join a
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        1s join b
        1s rejoin a
          > append gen=2 range leader=a [a b]
          > a: joined as a gen=2 range leader=a [a:m b:m]
          > b: joined as b gen=2 range leader=a []
        2s sync b 2
        2s sync a 2 a:p0 b:p1
          > append gen=2 range leader=a [a=p0 b=p1]
          > a: synced p0
          > b: synced p1
        3s rejoin a
        8s heartbeat b 2
          > b: RebalanceInProgress
        16s heartbeat b 2
          > b: RebalanceInProgress
        20s rejoin b
          > append gen=3 range leader=a [a b]
          > a: joined as a gen=3 range leader=a [a:m b:m]
          > b: joined as b gen=3 range leader=a []
    ",
    );
}

#[test]
fn a_member_that_waits_for_its_assignment_needs_no_heartbeat_either() {
    check(
        "
        0s join a
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        1s join b
        1s rejoin a
          > append gen=2 range leader=a [a b]
          > a: joined as a gen=2 range leader=a [a:m b:m]
          > b: joined as b gen=2 range leader=a []
        2s sync b 2
        3s heartbeat b 2
          > b: ok
        10s heartbeat a 2
          > a: ok
        15s sync a 2 a:p0 b:p1
          > append gen=2 range leader=a [a=p0 b=p1]
          > a: synced p0
          > b: synced p1
    ",
    );
}

#[test]
fn a_member_sent_back_from_its_sync_must_be_heard_of_again() {
    check(
        "
        0s join a
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        1s join b
        1s rejoin a
          > append gen=2 range leader=a [a b]
          > a: joined as a gen=2 range leader=a [a:m b:m]
          > b: joined as b gen=2 range leader=a []
        2s sync b 2
        3s join c
          > b: RebalanceInProgress
        4s rejoin a
        13s tick
          > append gen=3 range leader=a [a c]
          > a: joined as a gen=3 range leader=a [a:m c:m]
          > c: joined as c gen=3 range leader=a []
    ",
    );
}
