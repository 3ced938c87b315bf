//! Groups that change over between the protocols while members of both are at work.

use super::*;

#[test]
fn a_live_group_is_upgraded_by_its_first_consumer_and_its_members_keep_what_they_may() {
    check(
        "
        0s topics red:4
        0s join a topics=red
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:topics]
        0s sync a 1 a=red-0,red-1,red-2,red-3
          > append gen=1 range leader=a [a=(red-0 red-1 red-2 red-3)]
          > a: synced (red-0 red-1 red-2 red-3)
        0s commit a 1 red-0:5
          > append red-0 5
          > a: [ok]
        1s describe
          > Stable type=consumer protocol=range [a=(red-0 red-1 red-2 red-3)]
        1s beat b 0 topics=red
          > append group gone
          > b: at 2 [] soon
        1s describe
          > Reconciling 2/2 uniform [classic a@1: red-0 red-1 red-2 red-3, b@2: +red-2 +red-3]
        2s heartbeat a 1
          > a: RebalanceInProgress
        2s rejoin a topics=red owns=red-0,red-1,red-2,red-3
          > a: joined as a gen=1 range leader= []
        2s sync a 1
          > a: synced (red-0 red-1)
        2s describe
          > Reconciling 2/2 uniform [classic a@1: red-0 red-1 -red-2 -red-3, b@2: +red-2 +red-3]
        2s commit a 1 red-0:6
          > append red-0 6
          > a: [ok]
        3s heartbeat a 1
          > a: RebalanceInProgress
        3s rejoin a topics=red owns=red-0,red-1
          > a: joined as a gen=2 range leader= []
        3s sync a 2 type=other
          > a: InconsistentGroupProtocol
        3s sync a 2
          > a: synced (red-0 red-1)
        3s beat b 2
          > b: at 2 [red-2 red-3]
        4s heartbeat a 2
          > a: ok
        4s heartbeat b 2
          > b: UnknownMemberId
        4s describe
          > Stable 2/2 uniform [classic a@2: red-0 red-1, b@2: red-2 red-3]
    ",
    );
}

#[test]
fn classic_members_join_a_consumer_group_and_share_it_when_the_last_consumer_has_left() {
    check(
        "
        0s topics red:4
        0s beat b 0 topics=red
          > b: at 1 [red-0 red-1 red-2 red-3]
        5s join c topics=red v4
          > c: is to join as c
        5s rejoin c topics=red
          > c: joined as c gen=2 range leader= []
        5s sync c 2
          > c: synced ()
        5s heartbeat c 2
          > c: ok
        6s join d other:x type=consumer
          > d: InconsistentGroupProtocol
        6s join d topics=red type=connect
          > d: InconsistentGroupProtocol
        7s beat b 1
          > b: at 1 [red-0 red-1]
        8s heartbeat c 2
          > c: ok
        8s beat b 1 owns=red-0,red-1
          > b: at 2
        9s heartbeat c 2
          > c: RebalanceInProgress
        9s rejoin c topics=red
          > c: joined as c gen=2 range leader= []
        9s sync c 2
          > c: synced (red-2 red-3)
        10s restart
        10s describe
          > Stable 2/2 uniform [b@2: red-0 red-1, classic c@2: red-2 red-3]
        11s beat b -1
          > append gen=2 range leader=none [c=(red-2 red-3)]
          > b: at -1
        11s describe
          > PreparingRebalance type=consumer protocol= [c=]
        12s heartbeat c 2
          > c: RebalanceInProgress
        13s rejoin c topics=red
          > append gen=3 range leader=c [c]
          > c: joined as c gen=3 range leader=c [c:topics]
        13s sync c 3 c=red-0,red-1,red-2,red-3
          > append gen=3 range leader=c [c=(red-0 red-1 red-2 red-3)]
          > c: synced (red-0 red-1 red-2 red-3)
        13s describe
          > Stable type=consumer protocol=range [c=(red-0 red-1 red-2 red-3)]
    ",
    );
}

#[test]
fn static_members_change_protocol_in_place_and_an_empty_group_takes_either() {
    check(
        "
        0s topics red:2
        0s join a topics=red instance=i
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:topics]
        0s sync a 1 a=red-0,red-1
          > append gen=1 range leader=a [a=(red-0 red-1)]
          > a: synced (red-0 red-1)
        1s beat b 0 topics=red instance=i
          > append group gone
          > b: at 2 [red-0 red-1]
        1s describe
          > Stable 2/2 uniform [b@2: red-0 red-1]
        1s heartbeat a 1 instance=i
          > a: FencedInstanceId
        2s join c topics=red
          > c: joined as c gen=3 range leader= []
        2s sync c 3
          > c: synced ()
        2s describe
          > Reconciling 3/3 uniform [b@2: red-0 red-1, classic c@3: +red-1]
        3s join d topics=red instance=i
          > append gen=3 range leader=none [c=()]
        3s describe
          > PreparingRebalance type=consumer protocol= [c= d=]
        4s rejoin c topics=red
          > append gen=4 range leader=d [c d]
          > c: joined as c gen=4 range leader=d []
          > d: joined as d gen=4 range leader=d [c:topics d:topics]
        5s leave d@i c
          > d@i: [ok ok]
          > append gen=5 none leader=none []
        5s describe
          > Empty type=consumer protocol= []
        6s beat e 0 topics=red
          > append group gone
          > e: at 6 [red-0 red-1]
        6s beat e -1
          > e: at -1
        6s describe
          > Empty 7/6 uniform []
        7s join f topics=red
          > append gen=7 none leader=none []
          > append gen=8 range leader=f [f]
          > f: joined as f gen=8 range leader=f [f:topics]
        7s describe
          > CompletingRebalance type=consumer protocol= [f=]
        7s leave f
          > f: [ok]
          > append gen=9 none leader=none []
        8s join g type=connect
          > append gen=10 range leader=g [g]
          > g: joined as g gen=10 range leader=g [g:m]
        8s beat h 0 topics=red
          > h: GroupIdNotFound
    ",
    );
}

#[test]
fn a_classic_member_whose_id_is_too_long_is_refused_by_a_consumer_group() {
    let mut join = joiner();
    let refused = Some(Effect::Reply("it", Reply::Failed(Error::InvalidRequest)));
    assert_eq!(join(&"a".repeat(TEXT_BYTES_MAX + 1), subscription("red")), refused);
    let joined = join(&"a".repeat(TEXT_BYTES_MAX), subscription("red"));
    assert!(matches!(&joined, Some(Effect::Reply(_, Reply::Joined(_)))), "{joined:?}");
}

#[test]
fn what_classic_members_send_counts_towards_the_bytes_of_a_consumer_group() {
    let mut join = joiner();
    let user_data = Some(Bytes::from(vec![0; MEMBER_METADATA_BYTES_MAX - 64]));
    let topics = vec![text("red")];
    let large = ConsumerProtocolSubscription { topics, user_data, ..Default::default() };
    let large = large.to_bytes(1);
    for member in 0..GROUP_METADATA_BYTES_MAX / MEMBER_METADATA_BYTES_MAX {
        let joined = join(&format!("m{member}"), large.clone());
        assert!(matches!(&joined, Some(Effect::Reply(_, Reply::Joined(_)))), "{joined:?}");
    }
    let refused = Some(Effect::Reply("it", Reply::Failed(Error::GroupMaxSizeReached)));
    assert_eq!(join("last", large), refused);
}

/// Has a classic member join a group of one of the consumer protocol; gives what it is answered.
fn joiner() -> impl FnMut(&str, Bytes) -> Option<Effect<&'static str>> {
    let mut group = Group::new(Options::default());
    let now = Now { topics: topics(1, &["red:1"]), ..Now::default() };
    let first = Args(&["first", "0", "topics=red"]).beat();
    group.consumer_heartbeat(now, &first, "first", &mut Vec::new());
    move |member_id, metadata| {
        let protocols = vec![Protocol { name: text("range"), metadata }];
        let member_id = text(member_id);
        let join = Join { member_id, protocols, ..Args(&["new"]).join(false) };
        let mut out = Vec::new();
        group.join(now, join, "it", &mut out);
        out.pop()
    }
}
