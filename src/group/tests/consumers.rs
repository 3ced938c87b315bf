//! The consumer protocol: join, reconcile, leave, fence, subscribe, commit.

use super::*;

#[test]
fn the_first_answer_holds_all_partitions_and_a_second_member_gets_its_half_once_it_is_given_back() {
    check(
        "
        0s topics red:4
        0s beat a 0 topics=red
          > a: at 1 [red-0 red-1 red-2 red-3]
        0s describe
          > Stable 1/1 uniform [a@1: red-0 red-1 red-2 red-3]
        1s beat a 1
          > a: at 1
        2s beat b 0 topics=red
          > b: at 2 [] soon
        2s describe
          > Reconciling 2/2 uniform [a@1: red-0 red-1 red-2 red-3, b@2: +red-2 +red-3]
        3s beat a 1
          > a: at 1 [red-0 red-1]
        3s describe
          > Reconciling 2/2 uniform [a@1: red-0 red-1 -red-2 -red-3, b@2: +red-2 +red-3]
        3s beat b 2
          > b: at 2 soon
        4s beat a 1 owns=red-0,red-1,red-2
          > a: at 1
        5s beat a 1 owns=red-0,red-1
          > a: at 2
        5s beat b 2 owns=
          > b: at 2 [red-2 red-3]
        6s describe
          > Stable 2/2 uniform [a@2: red-0 red-1, b@2: red-2 red-3]
    ",
    );
}

#[test]
fn a_member_that_leaves_or_falls_silent_or_gives_nothing_back_loses_its_part_to_the_others() {
    check(
        "
        0s topics red:2
        0s beat a 0 topics=red
          > a: at 1 [red-0 red-1]
        0s beat b 0 topics=red
          > b: at 2 [] soon
        1s beat a 1 owns=red-0
          > a: at 2 [red-0]
        1s beat b 2
          > b: at 2 [red-1]
        2s beat b -1
          > b: at -1
        2s describe
          > Assigning 3/2 uniform [a@2: red-0]
        3s beat a 2
          > a: at 3 [red-0 red-1]
        4s beat c 0 topics=red rebalance=10s
          > c: at 4 [] soon
        5s beat a 3
          > a: at 3 [red-0]
        44s beat a 3
          > a: at 3
        48s beat c 4
          > c: at 4 soon
        64s beat a 3
          > a: at 3
        65s describe
          > Assigning 5/4 uniform [c@4: +red-1]
        65s beat a 3
          > a: UnknownMemberId
        66s beat c 4
          > c: at 5 [red-0 red-1]
        110s describe
          > Stable 5/5 uniform [c@5: red-0 red-1]
        112s describe
          > Empty 6/5 uniform []
    ",
    );
}

#[test]
fn a_member_of_another_epoch_is_fenced_unless_it_only_missed_the_last_answer() {
    check(
        "
        0s topics red:2
        0s beat a 3 topics=red
          > a: GroupIdNotFound
        0s beat a 0 topics=red
          > a: at 1 [red-0 red-1]
        1s beat b 0 topics=red
          > b: at 2 [] soon
        1s beat a 1 owns=red-0
          > a: at 2 [red-0]
        2s beat a 1 owns=red-0
          > a: at 2
        2s beat a 1 owns=red-0,red-1
          > a: FencedMemberEpoch
        2s beat a 1
          > a: FencedMemberEpoch
        2s beat a 3
          > a: FencedMemberEpoch
        2s beat c 1
          > c: UnknownMemberId
        3s beat a 0 topics=red
          > a: at 2 [red-0]
    ",
    );
}

#[test]
fn what_a_request_lacks_is_told_in_words() {
    let mut script = Script::new(Options::default());
    script.step("0s topics red:1");
    let mut refuse = |line: &str| {
        let effects = script.step(line);
        let [Effect::Reply(_, Reply::Refused(error, why))] = &effects[..] else {
            panic!("{line}: {effects:?}");
        };
        (*error, why.clone())
    };
    for (line, error, why) in [
        ("0s beat - 0 topics=red", Error::InvalidRequest, "MemberId can't be empty."),
        ("0s beat a 0", Error::InvalidRequest, "Either SubscribedTopicNames or"),
        ("0s beat a 0 topics=red owns=red-0", Error::InvalidRequest, "must be empty when (re-)"),
        ("0s beat a -2", Error::InvalidRequest, "InstanceId can't be null."),
        ("0s beat a -3", Error::InvalidRequest, "MemberEpoch is invalid."),
        ("0s beat a 0 topics=red assignor=best", Error::UnsupportedAssignor, "uniform, range"),
        ("0s beat a 0 regex=(red", Error::InvalidRegularExpression, "unclosed group"),
        ("0s beat a -1", Error::GroupIdNotFound, "no such"),
    ] {
        let refused = refuse(line);
        assert_eq!(refused.0, error, "{line}");
        assert!(refused.1.contains(why), "{line}: {}", refused.1);
    }
    assert!(script.group.is_vacant(), "a refused member leaves nothing");
}

#[test]
fn a_static_member_keeps_its_part_while_it_is_away_and_its_successor_takes_it_over() {
    check(
        "
        0s topics red:2
        0s beat a 0 topics=red instance=i
          > a: at 1 [red-0 red-1]
        0s beat b 0 topics=red
          > b: at 2 [] soon
        1s beat a 1 owns=red-0 instance=i
          > a: at 2 [red-0]
        1s beat b 2
          > b: at 2 [red-1]
        2s beat c 0 topics=red instance=i
          > c: UnreleasedInstanceId
        3s beat a -2 instance=i
          > a: at -2
        3s describe
          > Reconciling 2/2 uniform [a@-2: red-0, b@2: red-1]
        3s beat a 2 instance=i
          > a: FencedMemberEpoch
        4s beat c 0 topics=red instance=i
          > c: at 2 [red-0]
        4s beat a 2 instance=i
          > a: FencedInstanceId
        5s describe
          > Stable 2/2 uniform [b@2: red-1, c@2: red-0]
        6s beat c -2 instance=i
          > c: at -2
        40s beat b 2
          > b: at 2
        50s beat b 2
          > b: at 3 [red-0 red-1]
        51s beat b -2 instance=j
          > b: UnknownMemberId
    ",
    );
}

#[test]
fn topics_that_come_go_and_grow_are_followed_by_name_and_by_expression() {
    check(
        "
        0s topics red:1
        0s beat a 0 topics=blue,red
          > a: at 1 [red-0]
        0s beat b 0 regex=re.
          > b: at 2 []
        1s beat a 1
          > a: at 2
        1s beat b 2
          > b: at 2
        2s topics red:1 rex:2 reds:5 green:1
        2s beat b 2 owns=
          > b: at 3 [rex-0 rex-1]
        3s beat a 2
          > a: at 3
        4s topics red:2 rex:2 reds:5
        4s beat a 3
          > a: at 4 [red-0 red-1]
        4s beat b 3
          > b: at 4
        5s topics red#2:2 rex:2
        5s beat a 4
          > a: at 4 []
        5s beat a 4 owns=
          > a: at 5 [red#2-0 red#2-1]
        6s beat b 4 topics=rex regex=
          > b: at 6
        7s beat b 6 topics=rex
          > b: at 6
        8s describe
          > Reconciling 6/6 uniform [a@5: red#2-0 red#2-1, b@6: rex-0 rex-1]
    ",
    );
}

#[test]
fn the_assignor_that_most_members_vote_for_assigns() {
    check(
        "
        0s topics red:2 blue:2
        0s beat a 0 topics=blue,red assignor=range
          > a: at 1 [blue-0 blue-1 red-0 red-1]
        0s beat b 0 topics=blue,red
          > b: at 2 [] soon
        1s beat a 1 owns=
          > a: at 2 [blue-0 red-0]
        1s beat b 2
          > b: at 2 [blue-1 red-1]
        1s describe
          > Stable 2/2 range [a@2: blue-0 red-0, b@2: blue-1 red-1]
    ",
    );
}

#[test]
fn commits_need_the_members_epoch_and_offsets_of_topics_subscribed_to_stay() {
    check(
        "
        0s topics red:1 rex:1 blue:1
        0s beat a 0 topics=red regex=rex?
          > a: at 1 [red-0 rex-0]
        1s commit a 1 red-0:5 rex-0:6 blue-0:7
          > append red-0 5
          > append rex-0 6
          > append blue-0 7
          > a: [ok ok ok]
        1s commit a 0 red-0:9
          > a: StaleMemberEpoch
        1s commit a 1 red-0:9 v8
          > a: UnsupportedVersion
        1s commit b 1 red-0:9
          > b: UnknownMemberId
        1s commit - -1 red-0:9
          > -: UnknownMemberId
        2s delete
          > admin: NonEmptyGroup
        2s delete-offsets red-0 rex-0 blue-0
          > append blue-0 gone
          > admin: [GroupSubscribedToTopic GroupSubscribedToTopic ok]
        3s beat a -1
          > a: at -1
        3s commit - -1 red-0:9
          > append red-0 9
          > -: [ok]
        4s delete
          > append red-0 gone
          > append rex-0 gone
          > admin: ok
    ",
    );
}

#[test]
fn a_group_without_members_and_offsets_is_forgotten_and_one_with_offsets_when_these_expire() {
    check(
        "
        0s topics red:1
        0s beat a 0 topics=red
          > a: at 1 [red-0]
        1s commit a 1 red-0:5
          > append red-0 5
          > a: [ok]
        2s beat a -1
          > a: at -1
        6d describe
          > Empty 2/1 uniform []
        8d describe
          > append red-0 gone
          > Dead type= protocol= []
    ",
    );
}

#[test]
fn offsets_are_kept_from_when_the_last_member_left_or_the_broker_started() {
    let options = Options { offsets_retention: Duration::from_secs(10), ..Default::default() };
    check_with(
        options,
        "
        0s topics red:1
        0s beat a 0 topics=red
          > a: at 1 [red-0]
        1s commit a 1 red-0:5
          > append red-0 5
          > a: [ok]
        30s beat a -1
          > a: at -1
        31s restart
        40s describe
          > Empty 2/1 uniform []
        41s describe
          > append red-0 gone
          > Empty 2/1 uniform []
    ",
    );
}

#[test]
fn a_restarted_broker_goes_on_with_epochs_parts_and_deadlines() {
    check(
        "
        0s topics red:2
        0s beat a 0 topics=red rebalance=20s
          > a: at 1 [red-0 red-1]
        0s beat b 0 topics=red
          > b: at 2 [] soon
        1s beat a 1
          > a: at 1 [red-0]
        10s restart
        10s describe
          > Reconciling 2/2 uniform [a@1: red-0 -red-1, b@2: +red-1]
        11s beat b 2
          > b: at 2 soon
        31s describe
          > Assigning 3/2 uniform [b@2: +red-1]
        32s beat b 2
          > b: at 3 [red-0 red-1]
        33s restart
        34s beat b 3
          > b: at 3
        79s describe
          > Empty 4/3 uniform []
    ",
    );
}

#[test]
fn members_may_share_any_number_of_subscriptions_but_bring_only_so_many_expressions() {
    let mut script = Script::new(Options::default());
    script.step("0s topics red:1");
    let mut answer = |line: &str| match script.step(line).pop() {
        Some(Effect::Reply(_, reply)) => answered(&reply),
        other => panic!("{line}: {other:?}"),
    };
    for member in 0..PATTERNS_MAX {
        let answer = answer(&format!("0s beat m{member} 0 regex=r{member}"));
        assert!(answer.starts_with("at "), "{answer}");
    }
    assert_eq!(answer("0s beat more 0 regex=other"), "GroupMaxSizeReached");
    assert!(answer("0s beat more 0 regex=r7").starts_with("at "));
    // In place of its own, which was its alone.
    assert!(answer("0s beat m9 0 regex=other").starts_with("at "));
}
