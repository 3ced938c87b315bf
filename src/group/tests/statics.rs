//! Static members (KIP-345, KIP-814).

use super::*;

#[test]
fn a_static_follower_comes_back_without_a_rebalance_and_fences_its_old_self() {
    check(
        "
        0s join a
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        1s join b instance=i
        1s rejoin a
          > append gen=2 range leader=a [a b]
          > a: joined as a gen=2 range leader=a [a:m b:m]
          > b: joined as b gen=2 range leader=a []
        2s sync b 2 instance=i
        2s sync a 2 a:p0 b:p1
          > append gen=2 range leader=a [a=p0 b=p1]
          > a: synced p0
          > b: synced p1
        3s join c instance=i
          > append gen=2 range leader=a [a=p0 c=p1]
          > c: joined as c gen=2 range leader=a []
        3s sync c 2 instance=i
          > c: synced p1
        4s heartbeat b 2 instance=i
          > b: FencedInstanceId
        4s heartbeat b 2
          > b: UnknownMemberId
        4s rejoin b instance=i
          > b: FencedInstanceId
        4s sync b 2 instance=i
          > b: FencedInstanceId
        4s commit b 2 instance=i t-0:1
          > b: FencedInstanceId
        5s heartbeat c 2 instance=i
          > c: ok
        5s describe
          > Stable type=consumer protocol=range [a=p0 c=p1]
    ",
    );
}

#[test]
fn a_static_leader_that_comes_back_leaves_the_assignment_as_it_is() {
    check(
        "
        0s join a instance=i
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        0s sync a 1 a:p0
          > append gen=1 range leader=a [a=p0]
          > a: synced p0
        1s join b instance=i
          > append gen=1 range leader=b [b=p0]
          > b: joined as b gen=1 range leader=a []
        1s sync b 1 instance=i
          > b: synced p0
        2s join c instance=i v9
          > append gen=1 range leader=c [c=p0]
          > c: joined as c gen=1 range leader=c [c:m] skip
        2s sync c 1 instance=i
          > c: synced p0
        2s describe
          > Stable type=consumer protocol=range [c=p0]
    ",
    );
}

#[test]
fn a_static_member_that_comes_back_with_other_metadata_starts_a_rebalance() {
    check(
        "
        0s join a instance=i
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        0s sync a 1 a:p0
          > append gen=1 range leader=a [a=p0]
          > a: synced p0
        1s join b instance=i range:new
          > append gen=2 range leader=b [b]
          > b: joined as b gen=2 range leader=b [b:new]
        1s sync b 2 b:p0
          > append gen=2 range leader=b [b=p0]
          > b: synced p0
        2s join c instance=i sticky:new range:new
          > append gen=3 sticky leader=c [c]
          > c: joined as c gen=3 sticky leader=c [c:new]
    ",
    );
}

#[test]
fn a_static_member_replaced_while_it_waits_is_fenced() {
    check(
        "
        0s join a
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        1s join b instance=i
        2s join c instance=i
          > b: FencedInstanceId
        2s rejoin a
          > append gen=2 range leader=a [a c]
          > a: joined as a gen=2 range leader=a [a:m c:m]
          > c: joined as c gen=2 range leader=a []
        3s sync c 2 instance=i
        4s join d instance=i
          > c: FencedInstanceId
        4s describe
          > PreparingRebalance type=consumer protocol= [a= d=]
    ",
    );
}

#[test]
fn a_static_member_is_kept_through_a_rebalance_that_it_misses() {
    check(
        "
        0s join a session=60s rebalance=10s
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        1s join b instance=i session=60s rebalance=10s
        1s rejoin a session=60s rebalance=10s
          > append gen=2 range leader=a [a b]
          > a: joined as a gen=2 range leader=a [a:m b:m]
          > b: joined as b gen=2 range leader=a []
        2s sync b 2
        2s sync a 2 a:p0 b:p1
          > append gen=2 range leader=a [a=p0 b=p1]
          > a: synced p0
          > b: synced p1
        3s rejoin a session=60s rebalance=10s
        13s tick
          > append gen=3 range leader=a [a b]
          > a: joined as a gen=3 range leader=a [a:m b:m]
        14s describe
          > CompletingRebalance type=consumer protocol= [a= b=]
    ",
    );
}

#[test]
fn static_members_that_all_stay_away_are_waited_for_until_their_sessions_end() {
    check(
        "
        0s join a instance=i session=25s rebalance=10s
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        0s sync a 1 a:p0
          > append gen=1 range leader=a [a=p0]
          > a: synced p0
        1s join b session=6s rebalance=10s
        2s leave b
          > b: UnknownMemberId
          > b: [ok]
        12s tick
        20s describe
          > PreparingRebalance type=consumer protocol= [a=]
        26s describe
          > append gen=2 none leader=none []
          > Empty type=consumer protocol= []
    ",
    );
}

#[test]
fn a_static_member_that_rejoins_by_its_id_alone_stays_static() {
    check(
        "
        0s join a instance=i
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        1s rejoin a range:new
          > append gen=2 range leader=a [a]
          > a: joined as a gen=2 range leader=a [a:new]
        2s heartbeat a 2 instance=i
          > a: ok
    ",
    );
}

#[test]
fn a_static_member_restarts_with_the_broker() {
    check(
        "
        0s join a instance=i
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        0s sync a 1 a:p0
          > append gen=1 range leader=a [a=p0]
          > a: synced p0
        1s restart
        2s join b instance=i v9
          > append gen=1 range leader=b [b=p0]
          > b: joined as b gen=1 range leader=b [b:m] skip
        3s sync b 1 instance=i
          > b: synced p0
        4s restart
        5s heartbeat b 1 instance=i
          > b: ok
        5s heartbeat a 1 instance=i
          > a: FencedInstanceId
    ",
    );
}

#[test]
fn a_static_member_that_comes_back_before_it_synced_still_has_to() {
    check(
        "
        0s join a session=60s rebalance=10s
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        1s join b instance=i session=60s rebalance=10s
        1s rejoin a session=60s rebalance=10s
          > append gen=2 range leader=a [a b]
          > a: joined as a gen=2 range leader=a [a:m b:m]
          > b: joined as b gen=2 range leader=a []
        2s sync a 2 a:p0 b:p1
          > append gen=2 range leader=a [a=p0 b=p1]
          > a: synced p0
        3s join c instance=i session=60s rebalance=10s
          > append gen=2 range leader=a [a=p0 c=p1]
          > c: joined as c gen=2 range leader=a []
        11s describe
          > PreparingRebalance type=consumer protocol= [a=]
    ",
    );
}
