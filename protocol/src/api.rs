//! The APIs we speak: key, versions, the first flexible version, request and response.

use crate::messages::*;

apis! {
    /// Appends record batches.
    Produce = 0, versions 0..=13, flexible 9.., ProduceRequest => ProduceResponse;
    /// Reads record batches.
    Fetch = 1, versions 4..=17, flexible 12.., FetchRequest => FetchResponse;
    /// Finds offsets by time.
    ListOffsets = 2, versions 1..=11, flexible 6.., ListOffsetsRequest => ListOffsetsResponse;
    /// Describes brokers and topics.
    Metadata = 3, versions 0..=13, flexible 9.., MetadataRequest => MetadataResponse;
    /// Stores how far a group has read.
    OffsetCommit = 8, versions 0..=10, flexible 8.., OffsetCommitRequest => OffsetCommitResponse;
    /// Tells how far groups have read.
    OffsetFetch = 9, versions 1..=10, flexible 6.., OffsetFetchRequest => OffsetFetchResponse;
    /// Finds the coordinator of a group or transaction.
    FindCoordinator = 10, versions 0..=6, flexible 3..,
        FindCoordinatorRequest => FindCoordinatorResponse;
    /// Joins a classic group.
    JoinGroup = 11, versions 0..=9, flexible 6.., JoinGroupRequest => JoinGroupResponse;
    /// Stays in a classic group.
    Heartbeat = 12, versions 0..=4, flexible 4.., HeartbeatRequest => HeartbeatResponse;
    /// Leaves a classic group.
    LeaveGroup = 13, versions 0..=5, flexible 4.., LeaveGroupRequest => LeaveGroupResponse;
    /// Hands out the assignments of a classic group.
    SyncGroup = 14, versions 0..=5, flexible 4.., SyncGroupRequest => SyncGroupResponse;
    /// Describes classic groups.
    DescribeGroups = 15, versions 0..=6, flexible 5..,
        DescribeGroupsRequest => DescribeGroupsResponse;
    /// Lists groups.
    ListGroups = 16, versions 0..=5, flexible 3.., ListGroupsRequest => ListGroupsResponse;
    /// Picks a SASL mechanism.
    SaslHandshake = 17, versions 0..=1, flexible never,
        SaslHandshakeRequest => SaslHandshakeResponse;
    /// Which APIs and versions the broker speaks.
    ApiVersions = 18, versions 0..=5, flexible 3.., ApiVersionsRequest => ApiVersionsResponse;
    /// Creates topics.
    CreateTopics = 19, versions 0..=7, flexible 5.., CreateTopicsRequest => CreateTopicsResponse;
    /// Deletes topics.
    DeleteTopics = 20, versions 0..=6, flexible 4.., DeleteTopicsRequest => DeleteTopicsResponse;
    /// Deletes the oldest records.
    DeleteRecords = 21, versions 0..=2, flexible 2.., DeleteRecordsRequest => DeleteRecordsResponse;
    /// Gives out a producer id.
    InitProducerId = 22, versions 0..=5, flexible 2..,
        InitProducerIdRequest => InitProducerIdResponse;
    /// Finds where a leader epoch ended.
    OffsetForLeaderEpoch = 23, versions 0..=4, flexible 4..,
        OffsetForLeaderEpochRequest => OffsetForLeaderEpochResponse;
    /// Adds partitions to a transaction.
    AddPartitionsToTxn = 24, versions 0..=5, flexible 3..,
        AddPartitionsToTxnRequest => AddPartitionsToTxnResponse;
    /// Adds a group's offsets to a transaction.
    AddOffsetsToTxn = 25, versions 0..=4, flexible 3..,
        AddOffsetsToTxnRequest => AddOffsetsToTxnResponse;
    /// Commits or aborts a transaction.
    EndTxn = 26, versions 0..=5, flexible 3.., EndTxnRequest => EndTxnResponse;
    /// Writes transaction markers.
    WriteTxnMarkers = 27, versions 1..=2, flexible 1..,
        WriteTxnMarkersRequest => WriteTxnMarkersResponse;
    /// Stores offsets in a transaction.
    TxnOffsetCommit = 28, versions 0..=5, flexible 3..,
        TxnOffsetCommitRequest => TxnOffsetCommitResponse;
    /// Finds ACLs.
    DescribeAcls = 29, versions 0..=3, flexible 2.., DescribeAclsRequest => DescribeAclsResponse;
    /// Adds ACLs.
    CreateAcls = 30, versions 0..=3, flexible 2.., CreateAclsRequest => CreateAclsResponse;
    /// Deletes ACLs.
    DeleteAcls = 31, versions 0..=3, flexible 2.., DeleteAclsRequest => DeleteAclsResponse;
    /// Describes settings.
    DescribeConfigs = 32, versions 0..=4, flexible 4..,
        DescribeConfigsRequest => DescribeConfigsResponse;
    /// Replaces settings.
    AlterConfigs = 33, versions 0..=2, flexible 2.., AlterConfigsRequest => AlterConfigsResponse;
    /// Moves replicas between directories.
    AlterReplicaLogDirs = 34, versions 1..=2, flexible 2..,
        AlterReplicaLogDirsRequest => AlterReplicaLogDirsResponse;
    /// Describes log directories.
    DescribeLogDirs = 35, versions 1..=5, flexible 2..,
        DescribeLogDirsRequest => DescribeLogDirsResponse;
    /// Carries SASL messages.
    SaslAuthenticate = 36, versions 0..=2, flexible 2..,
        SaslAuthenticateRequest => SaslAuthenticateResponse;
    /// Grows topics.
    CreatePartitions = 37, versions 0..=3, flexible 2..,
        CreatePartitionsRequest => CreatePartitionsResponse;
    /// Deletes groups.
    DeleteGroups = 42, versions 0..=3, flexible 2.., DeleteGroupsRequest => DeleteGroupsResponse;
    /// Elects leaders.
    ElectLeaders = 43, versions 0..=2, flexible 2.., ElectLeadersRequest => ElectLeadersResponse;
    /// Changes single settings.
    IncrementalAlterConfigs = 44, versions 0..=1, flexible 1..,
        IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse;
    /// Moves partitions.
    AlterPartitionReassignments = 45, versions 0..=1, flexible 0..,
        AlterPartitionReassignmentsRequest => AlterPartitionReassignmentsResponse;
    /// Lists moving partitions.
    ListPartitionReassignments = 46, versions 0..=0, flexible 0..,
        ListPartitionReassignmentsRequest => ListPartitionReassignmentsResponse;
    /// Forgets committed offsets.
    OffsetDelete = 47, versions 0..=0, flexible never, OffsetDeleteRequest => OffsetDeleteResponse;
    /// Describes quotas.
    DescribeClientQuotas = 48, versions 0..=1, flexible 1..,
        DescribeClientQuotasRequest => DescribeClientQuotasResponse;
    /// Changes quotas.
    AlterClientQuotas = 49, versions 0..=1, flexible 1..,
        AlterClientQuotasRequest => AlterClientQuotasResponse;
    /// Describes SCRAM credentials.
    DescribeUserScramCredentials = 50, versions 0..=0, flexible 0..,
        DescribeUserScramCredentialsRequest => DescribeUserScramCredentialsResponse;
    /// Changes SCRAM credentials.
    AlterUserScramCredentials = 51, versions 0..=0, flexible 0..,
        AlterUserScramCredentialsRequest => AlterUserScramCredentialsResponse;
    /// Describes the metadata quorum.
    DescribeQuorum = 55, versions 0..=2, flexible 0..,
        DescribeQuorumRequest => DescribeQuorumResponse;
    /// Describes the cluster.
    DescribeCluster = 60, versions 0..=2, flexible 0..,
        DescribeClusterRequest => DescribeClusterResponse;
    /// Describes the producers of partitions.
    DescribeProducers = 61, versions 0..=0, flexible 0..,
        DescribeProducersRequest => DescribeProducersResponse;
    /// Describes transactions.
    DescribeTransactions = 65, versions 0..=0, flexible 0..,
        DescribeTransactionsRequest => DescribeTransactionsResponse;
    /// Lists transactions.
    ListTransactions = 66, versions 0..=2, flexible 0..,
        ListTransactionsRequest => ListTransactionsResponse;
    /// Joins, stays in and leaves a consumer group.
    ConsumerGroupHeartbeat = 68, versions 0..=1, flexible 0..,
        ConsumerGroupHeartbeatRequest => ConsumerGroupHeartbeatResponse;
    /// Describes consumer groups.
    ConsumerGroupDescribe = 69, versions 0..=1, flexible 0..,
        ConsumerGroupDescribeRequest => ConsumerGroupDescribeResponse;
    /// Lists what has settings.
    ListConfigResources = 74, versions 0..=1, flexible 0..,
        ListConfigResourcesRequest => ListConfigResourcesResponse;
    /// Describes topics page by page.
    DescribeTopicPartitions = 75, versions 0..=0, flexible 0..,
        DescribeTopicPartitionsRequest => DescribeTopicPartitionsResponse;
}
