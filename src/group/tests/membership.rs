//! Who is in: forming, ids, limits, silence, leaving.

use super::*;

#[test]
fn two_members_form_then_one_dies() {
    check(
        "
        0s join a
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        0s sync a 1 a:p0+p1
          > append gen=1 range leader=a [a=p0+p1]
          > a: synced p0+p1
        1s join b
        2s heartbeat a 1
          > a: RebalanceInProgress
        2s rejoin a
          > append gen=2 range leader=a [a b]
          > a: joined as a gen=2 range leader=a [a:m b:m]
          > b: joined as b gen=2 range leader=a []
        3s sync b 2
        3s sync a 2 a:p0 b:p1
          > append gen=2 range leader=a [a=p0 b=p1]
          > a: synced p0
          > b: synced p1
        9s heartbeat a 2
          > a: ok
        9s heartbeat b 7
          > b: IllegalGeneration
        12s heartbeat a 2
          > a: ok
        14s heartbeat a 2
          > a: RebalanceInProgress
        14s rejoin a
          > append gen=3 range leader=a [a]
          > a: joined as a gen=3 range leader=a [a:m]
        15s sync a 3 a:p0+p1
          > append gen=3 range leader=a [a=p0+p1]
          > a: synced p0+p1
        15s describe
          > Stable type=consumer protocol=range [a=p0+p1]
    ",
    );
}

#[test]
fn an_empty_group_waits_for_more_members_while_they_come() {
    check_with(
        Options::default(),
        "
        0s join a
        2s join b
        3s tick
        5s join c
        6s tick
        8s tick
        9s tick
          > append gen=1 range leader=a [a b c]
          > a: joined as a gen=1 range leader=a [a:m b:m c:m]
          > b: joined as b gen=1 range leader=a []
          > c: joined as c gen=1 range leader=a []
        9s describe
          > CompletingRebalance type=consumer protocol= [a= b= c=]
    ",
    );
}

#[test]
fn the_initial_wait_ends_with_the_rebalance_timeout() {
    check_with(
        Options::default(),
        "
        0s join a rebalance=7s
        2s join b rebalance=7s
        5s join c rebalance=7s
        6500ms join d rebalance=7s
        7s tick
          > append gen=1 range leader=a [a b c d]
          > a: joined as a gen=1 range leader=a [a:m b:m c:m d:m]
          > b: joined as b gen=1 range leader=a []
          > c: joined as c gen=1 range leader=a []
          > d: joined as d gen=1 range leader=a []
    ",
    );
}

#[test]
fn a_new_member_is_told_its_id_and_joins_with_it() {
    check(
        "
        0s join a v4
          > a: is to join as a
        1s rejoin a v4
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        2s rejoin b v4
          > b: UnknownMemberId
        2s heartbeat b 1
          > b: UnknownMemberId
    ",
    );
}

#[test]
fn an_id_that_nobody_joins_with_holds_up_a_rebalance_until_it_expires() {
    check(
        "
        0s join a
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        0s sync a 1 a:p0
          > append gen=1 range leader=a [a=p0]
          > a: synced p0
        1s join b v4 session=6s
          > b: is to join as b
        2s join c
        3s rejoin a
        7s tick
          > append gen=2 range leader=a [a c]
          > a: joined as a gen=2 range leader=a [a:m c:m]
          > c: joined as c gen=2 range leader=a []
        8s rejoin b v4
          > b: UnknownMemberId
    ",
    );
}

#[test]
fn members_that_do_not_rejoin_in_time_are_dropped() {
    check(
        "
        0s join a session=30s rebalance=20s
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        0s join b session=30s rebalance=20s
        1s rejoin a session=30s rebalance=20s
          > append gen=2 range leader=a [a b]
          > a: joined as a gen=2 range leader=a [a:m b:m]
          > b: joined as b gen=2 range leader=a []
        2s sync a 2 a:p0 b:p1
          > append gen=2 range leader=a [a=p0 b=p1]
          > a: synced p0
        2s sync b 2
          > b: synced p1
        3s rejoin a session=30s rebalance=20s
        4s heartbeat b 2
          > b: RebalanceInProgress
        23s tick
          > append gen=3 range leader=a [a]
          > a: joined as a gen=3 range leader=a [a:m]
        24s heartbeat b 2
          > b: UnknownMemberId
    ",
    );
}

#[test]
fn a_full_group_refuses_new_members_and_keeps_its_own() {
    check_with(
        Options { max_size: 1, initial_rebalance_delay: Duration::ZERO, ..Default::default() },
        "
        0s join a
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        0s sync a 1 a:p0
          > append gen=1 range leader=a [a=p0]
          > a: synced p0
        1s join b
          > b: GroupMaxSizeReached
        1s rejoin a
          > append gen=2 range leader=a [a]
          > a: joined as a gen=2 range leader=a [a:m]
        2s join b
          > b: GroupMaxSizeReached
    ",
    );
}

#[test]
fn a_member_needs_a_session_timeout_within_the_limits_and_a_common_protocol() {
    check(
        "
        0s join a session=5s
          > a: InvalidSessionTimeout
        0s join a session=1801s
          > a: InvalidSessionTimeout
        0s join a type=
          > a: InconsistentGroupProtocol
        0s join a range:x sticky:y
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:x]
        1s join b type=connect
          > b: InconsistentGroupProtocol
        1s join b other:z
          > b: InconsistentGroupProtocol
        1s join b sticky:z
        1s rejoin a range:x sticky:y
          > append gen=2 sticky leader=a [a b]
          > a: joined as a gen=2 sticky leader=a [a:y b:z]
          > b: joined as b gen=2 sticky leader=a []
    ",
    );
}

#[test]
fn leaving_in_a_batch_by_id_and_by_instance_takes_one_rebalance() {
    check(
        "
        0s join a
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        0s join b instance=i
        0s join c
        1s rejoin a
          > append gen=2 range leader=a [a b c]
          > a: joined as a gen=2 range leader=a [a:m b:m c:m]
          > b: joined as b gen=2 range leader=a []
          > c: joined as c gen=2 range leader=a []
        2s leave c@i x @nobody b@j @i
          > c@i: [FencedInstanceId UnknownMemberId UnknownMemberId UnknownMemberId ok]
        2s leave c
          > c: [ok]
        2s describe
          > PreparingRebalance type=consumer protocol= [a=]
        3s rejoin a
          > append gen=3 range leader=a [a]
          > a: joined as a gen=3 range leader=a [a:m]
        4s leave a
          > a: [ok]
          > append gen=4 none leader=none []
        4s describe
          > Empty type=consumer protocol= []
        4s leave a
          > a: [UnknownMemberId]
    ",
    );
}

#[test]
fn a_member_that_leaves_while_it_waits_is_answered() {
    check(
        "
        0s join a
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        0s sync a 1 a:p0
          > append gen=1 range leader=a [a=p0]
          > a: synced p0
        1s join b
        2s leave b
          > b: UnknownMemberId
          > b: [ok]
        3s rejoin a
          > append gen=2 range leader=a [a]
          > a: joined as a gen=2 range leader=a [a:m]
    ",
    );
}

#[test]
fn an_unknown_member_gets_nothing() {
    check(
        "
        0s heartbeat x 0
          > x: UnknownMemberId
        0s sync x 0
          > x: UnknownMemberId
        0s rejoin x
          > x: UnknownMemberId
        0s leave x
          > x: [UnknownMemberId]
        0s join a
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        1s heartbeat a 0
          > a: IllegalGeneration
        1s sync a 2
          > a: IllegalGeneration
        1s heartbeat x 1
          > x: UnknownMemberId
    ",
    );
}

#[test]
fn a_member_beyond_the_bounds_is_refused() {
    let mut join = Args(&["a"]).join(false);
    join.protocols = vec![join.protocols[0].clone(); MEMBER_PROTOCOLS_MAX + 1];
    refuse(join);
    let mut join = Args(&["a"]).join(false);
    join.protocols[0].metadata = Bytes::from(vec![0; MEMBER_METADATA_BYTES_MAX]);
    refuse(join);
    let mut join = Args(&["a"]).join(false);
    join.group_instance_id = Some(text(&"i".repeat(TEXT_BYTES_MAX + 1)));
    refuse(join);
}

#[track_caller]
fn refuse(join: Join) {
    let (mut group, mut out) = (Group::new(Options::default()), Vec::new());
    group.join(Now::default(), join, "a", &mut out);
    assert_eq!(out, [Effect::Reply("a", Reply::Failed(Error::InvalidRequest))]);
    assert!(group.is_vacant());
}
