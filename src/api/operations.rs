//! What a client may do, as bit sets: bit n is Kafka's AclOperation n. An account is its own
//! cluster and has no ACLs inside, so these are what Kafka answers without an authorizer: all that
//! the kind of resource supports.

/// Create, Alter, Describe, ClusterAction, DescribeConfigs, AlterConfigs, IdempotentWrite.
pub(super) const CLUSTER: i32 = bits(&[5, 7, 8, 9, 10, 11, 12]);
/// Read, Write, Create, Delete, Alter, Describe, DescribeConfigs, AlterConfigs.
pub(super) const TOPIC: i32 = bits(&[3, 4, 5, 6, 7, 8, 10, 11]);
/// Read, Delete, Describe, DescribeConfigs, AlterConfigs.
pub(super) const GROUP: i32 = bits(&[3, 6, 8, 10, 11]);

/// The field's value: the set if it was asked for, else what Kafka puts for "not asked".
pub(super) const fn asked(operations: i32, asked: bool) -> i32 {
    if asked { operations } else { i32::MIN }
}

const fn bits(operations: &[i32]) -> i32 {
    let (mut set, mut index) = (0, 0);
    while index < operations.len() {
        set |= 1 << operations[index];
        index += 1;
    }
    set
}
