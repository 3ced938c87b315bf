//! Commits, their rules, deletion and expiry.

use super::*;

#[test]
fn members_commit_and_others_are_fenced() {
    check(
        "
        0s join a
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        0s commit a 1 t-0:1
          > a: RebalanceInProgress
        0s sync a 1 a:p0
          > append gen=1 range leader=a [a=p0]
          > a: synced p0
        1s commit a 1 t-0:5 t-1:6
          > append t-0 5
          > append t-1 6
          > a: [ok ok]
        2s commit a 0 t-0:7
          > a: IllegalGeneration
        2s commit x 1 t-0:7
          > x: UnknownMemberId
        2s commit - -1 t-0:7
          > -: UnknownMemberId
        3s join b
        4s commit a 1 t-0:8
          > append t-0 8
          > a: [ok]
        4s describe
          > PreparingRebalance type=consumer protocol= [a= b=]
    ",
    );
}

#[test]
fn a_commit_is_a_sign_of_life() {
    check(
        "
        0s join a
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        0s sync a 1 a:p0
          > append gen=1 range leader=a [a=p0]
          > a: synced p0
        8s commit a 1 t-0:5
          > append t-0 5
          > a: [ok]
        16s commit a 1 t-0:6
          > append t-0 6
          > a: [ok]
        25s heartbeat a 1
          > a: ok
    ",
    );
}

#[test]
fn a_consumer_without_a_group_commits_and_its_offsets_expire_by_themselves() {
    check(
        "
        0s commit - -1 t-0:5
          > append t-0 5
          > -: [ok]
        0s describe
          > Empty type= protocol= []
        1d commit - -1 t-1:6
          > append t-1 6
          > -: [ok]
        7d tick
          > append t-0 gone
        7d restart
        8d tick
          > append t-1 gone
        8d describe
          > Dead type= protocol= []
    ",
    );
}

#[test]
fn offsets_go_when_the_group_was_empty_for_long_and_the_group_with_them() {
    check(
        "
        0s join a session=1800s
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        0s sync a 1 a:p0
          > append gen=1 range leader=a [a=p0]
          > a: synced p0
        1s commit a 1 t-0:5
          > append t-0 5
          > a: [ok]
        2s leave a
          > a: [ok]
          > append gen=2 none leader=none []
        6d tick
        6d restart
        604801s tick
        604802s tick
          > append t-0 gone
          > append group gone
        604802s describe
          > Dead type= protocol= []
    ",
    );
}

#[test]
fn offsets_of_topics_no_longer_consumed_expire_and_those_consumed_stay() {
    let options = Options {
        initial_rebalance_delay: Duration::ZERO,
        offsets_retention: Duration::from_secs(10),
        ..Default::default()
    };
    check_with(
        options,
        "
        0s join a topics=new session=60s
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:topics]
        0s sync a 1 a:p0
          > append gen=1 range leader=a [a=p0]
          > a: synced p0
        1s commit a 1 old-0:5 new-0:6
          > append old-0 5
          > append new-0 6
          > a: [ok ok]
        10s tick
        11s tick
          > append old-0 gone
    ",
    );
}

#[test]
fn a_client_may_say_how_long_its_offsets_live() {
    check(
        "
        0s commit - -1 t-0:5 retention=60s
          > append t-0 5
          > -: [ok]
        0s commit - -1 t-1:5
          > append t-1 5
          > -: [ok]
        59s tick
        60s tick
          > append t-0 gone
    ",
    );
}

#[test]
fn a_group_that_nothing_is_left_of_goes_after_a_while() {
    check(
        "
        0s join a
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        1s leave a
          > a: [ok]
          > append gen=2 none leader=none []
        1s restart
        600s tick
        601s tick
          > append group gone
        602s join b
          > b: CoordinatorNotAvailable
    ",
    );
}

#[test]
fn only_an_empty_group_can_be_deleted() {
    check(
        "
        0s join a
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        0s sync a 1 a:p0
          > append gen=1 range leader=a [a=p0]
          > a: synced p0
        0s commit a 1 t-0:5
          > append t-0 5
          > a: [ok]
        1s delete
          > admin: NonEmptyGroup
        2s leave a
          > a: [ok]
          > append gen=2 none leader=none []
        3s delete
          > append t-0 gone
          > append group gone
          > admin: ok
        4s delete
          > admin: GroupIdNotFound
        4s join b
          > b: CoordinatorNotAvailable
        4s commit - -1 t-0:5
          > -: CoordinatorNotAvailable
    ",
    );
}

#[test]
fn offsets_of_consumed_topics_cannot_be_deleted() {
    check(
        "
        0s join a topics=x,y
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:topics]
        0s sync a 1 a:p0
          > append gen=1 range leader=a [a=p0]
          > a: synced p0
        0s commit a 1 x-0:5 z-0:6
          > append x-0 5
          > append z-0 6
          > a: [ok ok]
        1s delete-offsets x-0 z-0 z-1
          > append z-0 gone
          > admin: [GroupSubscribedToTopic ok ok]
        2s leave a
          > a: [ok]
          > append gen=2 none leader=none []
        3s delete-offsets x-0
          > append x-0 gone
          > admin: [ok]
    ",
    );
    check(
        "
        0s join a type=connect
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        1s delete-offsets x-0
          > admin: NonEmptyGroup
    ",
    );
    check(
        "
        0s join a range:unreadable
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:unreadable]
        1s delete-offsets x-0
          > admin: [GroupSubscribedToTopic]
    ",
    );
}

#[test]
fn offsets_go_with_their_topic() {
    check(
        "
        0s commit - -1 x-0:5 x-1:5 y-0:6
          > append x-0 5
          > append x-1 5
          > append y-0 6
          > -: [ok ok ok]
        1s drop-topic x
          > append x-0 gone
          > append x-1 gone
        2s drop-topic y
          > append y-0 gone
        3s drop-topic y
    ",
    );
}

#[test]
fn epoch_and_note_come_back_and_a_long_note_is_refused_alone() {
    let mut script = Script::new(Options::default());
    script.step("0s commit - -1 t-0:5 epoch=3 note=hello");
    let committed = script.group.durable().offset("t", 0).unwrap();
    assert_eq!((committed.leader_epoch, &*committed.metadata), (3, "hello"));
    let note = "n".repeat(4097);
    let out = script.step(&format!("0s commit - -1 t-0:6 t-1:7 note={note}"));
    let refused = Err(Error::OffsetMetadataTooLarge);
    assert_eq!(out, [Effect::Reply("-".into(), Reply::Each(vec![refused; 2]))]);
    assert_eq!(script.group.durable().offset("t", 0).unwrap().offset, 5);
}

#[test]
fn a_group_that_somebody_is_about_to_join_does_not_go() {
    check(
        "
        0s join a
          > append gen=1 range leader=a [a]
          > a: joined as a gen=1 range leader=a [a:m]
        1s leave a
          > a: [ok]
          > append gen=2 none leader=none []
        598s join b v4
          > b: is to join as b
        601s describe
          > Empty type=consumer protocol= []
        1207s describe
          > Empty type=consumer protocol= []
        1208s describe
          > append group gone
          > Dead type= protocol= []
    ",
    );
}
