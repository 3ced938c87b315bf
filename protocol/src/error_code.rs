//! Kafka's error codes by name.

use crate::wire::{Reader, Result, Version, Wire, Writer};
use std::fmt;

/// An error code; unknown numbers survive.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ErrorCode(pub i16);

impl ErrorCode {
    /// Whether it stands for success.
    pub const fn is_none(self) -> bool {
        self.0 == Self::NONE.0
    }

    /// Whether it stands for a failure.
    pub const fn is_error(self) -> bool {
        !self.is_none()
    }
}

impl Wire for ErrorCode {
    fn read(input: &mut Reader, version: Version) -> Result<Self> {
        i16::read(input, version).map(Self)
    }
    fn write(&self, out: &mut Writer, version: Version) {
        self.0.write(out, version);
    }
}

/// The name, or `ErrorCode(1234)` where there is none.
impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "ErrorCode({})", self.0),
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! error_codes {
    ($($name:ident = $code:literal $(, $retriable:ident)? : $message:literal;)*) => {
        impl ErrorCode {
            /// Every code we know, by number.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            $(#[doc = $message] pub const $name: Self = Self($code);)*

            /// Kafka's name of the code.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 { $($code => Some(stringify!($name)),)* _ => None }
            }

            /// What to tell a person.
            pub const fn message(self) -> &'static str {
                match self.0 { $($code => $message,)* _ => "unknown error code" }
            }

            /// Whether the same request may succeed later.
            pub const fn is_retriable(self) -> bool {
                match self.0 { $($code => error_codes!(@ $($retriable)?),)* _ => false }
            }
        }
    };
    (@) => { false };
    (@ retriable) => { true };
}

error_codes! {
    UNKNOWN_SERVER_ERROR = -1: "the broker failed in a way it did not foresee";
    NONE = 0: "no error";
    OFFSET_OUT_OF_RANGE = 1: "the offset is outside the log";
    CORRUPT_MESSAGE = 2, retriable: "the records are damaged, or lack a key that is needed";
    UNKNOWN_TOPIC_OR_PARTITION = 3, retriable: "there is no such topic or partition";
    INVALID_FETCH_SIZE = 4: "the fetch size is invalid";
    LEADER_NOT_AVAILABLE = 5, retriable: "the partition has no leader at the moment";
    NOT_LEADER_OR_FOLLOWER = 6, retriable: "this broker is not the leader of the partition";
    REQUEST_TIMED_OUT = 7, retriable: "the request took too long";
    BROKER_NOT_AVAILABLE = 8: "the broker is not available";
    REPLICA_NOT_AVAILABLE = 9, retriable: "the replica is not available";
    MESSAGE_TOO_LARGE = 10: "the record batch is larger than the topic allows";
    STALE_CONTROLLER_EPOCH = 11: "the controller has moved to another broker";
    OFFSET_METADATA_TOO_LARGE = 12: "the offset metadata is too long";
    NETWORK_EXCEPTION = 13, retriable: "the connection was closed before an answer came";
    COORDINATOR_LOAD_IN_PROGRESS = 14, retriable: "the coordinator is still loading its state";
    COORDINATOR_NOT_AVAILABLE = 15, retriable: "there is no coordinator at the moment";
    NOT_COORDINATOR = 16, retriable: "this broker is not the coordinator";
    INVALID_TOPIC_EXCEPTION = 17: "the topic name is invalid";
    RECORD_LIST_TOO_LARGE = 18: "the batch is larger than a segment";
    NOT_ENOUGH_REPLICAS = 19, retriable: "there are too few in-sync replicas to append";
    NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20, retriable: "appended, but to too few in-sync replicas";
    INVALID_REQUIRED_ACKS = 21: "acks must be 0, 1 or -1";
    ILLEGAL_GENERATION = 22: "the generation is not the group's current one";
    INCONSISTENT_GROUP_PROTOCOL = 23: "the member shares no protocol with the group";
    INVALID_GROUP_ID = 24: "the group id is invalid";
    UNKNOWN_MEMBER_ID = 25: "the group has no such member";
    INVALID_SESSION_TIMEOUT = 26: "the session timeout is outside what the broker allows";
    REBALANCE_IN_PROGRESS = 27: "the group is rebalancing, join again";
    INVALID_COMMIT_OFFSET_SIZE = 28: "the offset commit is too large";
    TOPIC_AUTHORIZATION_FAILED = 29: "not authorized for the topic";
    GROUP_AUTHORIZATION_FAILED = 30: "not authorized for the group";
    CLUSTER_AUTHORIZATION_FAILED = 31: "not authorized for the cluster";
    INVALID_TIMESTAMP = 32: "the timestamp is too far from the broker's time";
    UNSUPPORTED_SASL_MECHANISM = 33: "the SASL mechanism is not enabled";
    ILLEGAL_SASL_STATE = 34: "the request does not fit the state of the SASL exchange";
    UNSUPPORTED_VERSION = 35: "the broker does not speak this version of the API";
    TOPIC_ALREADY_EXISTS = 36: "the topic exists already";
    INVALID_PARTITIONS = 37: "the number of partitions is invalid";
    INVALID_REPLICATION_FACTOR = 38: "the replication factor is invalid";
    INVALID_REPLICA_ASSIGNMENT = 39: "the replica assignment is invalid";
    INVALID_CONFIG = 40: "the configuration is invalid";
    NOT_CONTROLLER = 41, retriable: "this broker is not the controller";
    INVALID_REQUEST = 42: "the request is malformed or contradicts itself";
    UNSUPPORTED_FOR_MESSAGE_FORMAT = 43: "the message format does not support the request";
    POLICY_VIOLATION = 44: "a policy of the broker forbids it";
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45: "the sequence number is not the next one";
    DUPLICATE_SEQUENCE_NUMBER = 46: "the sequence number was seen before";
    INVALID_PRODUCER_EPOCH = 47: "the producer epoch is out of date";
    INVALID_TXN_STATE = 48: "the transaction is in a state that does not allow it";
    INVALID_PRODUCER_ID_MAPPING = 49: "the producer id does not belong to the transactional id";
    INVALID_TRANSACTION_TIMEOUT = 50: "the transaction timeout is larger than the broker allows";
    CONCURRENT_TRANSACTIONS = 51: "another operation on the transaction is under way";
    TRANSACTION_COORDINATOR_FENCED = 52: "the transaction coordinator was replaced by a newer one";
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53: "not authorized for the transactional id";
    SECURITY_DISABLED = 54: "no authorizer is configured";
    OPERATION_NOT_ATTEMPTED = 55: "not attempted, because another part of the request failed";
    KAFKA_STORAGE_ERROR = 56, retriable: "the disk failed";
    LOG_DIR_NOT_FOUND = 57: "there is no such log directory";
    SASL_AUTHENTICATION_FAILED = 58: "authentication failed";
    UNKNOWN_PRODUCER_ID = 59: "the broker has no state of this producer";
    REASSIGNMENT_IN_PROGRESS = 60: "the partition is being reassigned already";
    DELEGATION_TOKEN_AUTH_DISABLED = 61: "delegation tokens are not enabled";
    DELEGATION_TOKEN_NOT_FOUND = 62: "there is no such delegation token";
    DELEGATION_TOKEN_OWNER_MISMATCH = 63: "only the owner or a renewer may do this to the token";
    DELEGATION_TOKEN_REQUEST_NOT_ALLOWED = 64: "not allowed over this connection";
    DELEGATION_TOKEN_AUTHORIZATION_FAILED = 65: "not authorized for the delegation token";
    DELEGATION_TOKEN_EXPIRED = 66: "the delegation token has expired";
    INVALID_PRINCIPAL_TYPE = 67: "the principal type is not supported";
    NON_EMPTY_GROUP = 68: "the group is not empty";
    GROUP_ID_NOT_FOUND = 69: "there is no such group";
    FETCH_SESSION_ID_NOT_FOUND = 70, retriable: "there is no such fetch session";
    INVALID_FETCH_SESSION_EPOCH = 71, retriable: "the fetch session epoch is not the next one";
    LISTENER_NOT_FOUND = 72, retriable: "the leader has no listener of this name";
    TOPIC_DELETION_DISABLED = 73: "topic deletion is disabled";
    FENCED_LEADER_EPOCH = 74, retriable: "the leader epoch is older than the broker's";
    UNKNOWN_LEADER_EPOCH = 75, retriable: "the leader epoch is newer than the broker's";
    UNSUPPORTED_COMPRESSION_TYPE = 76: "the client's version cannot read this compression";
    STALE_BROKER_EPOCH = 77: "the broker epoch is out of date";
    OFFSET_NOT_AVAILABLE = 78, retriable: "the offset is not known yet after an election";
    MEMBER_ID_REQUIRED = 79: "join again with the member id given";
    PREFERRED_LEADER_NOT_AVAILABLE = 80, retriable: "the preferred leader is not available";
    GROUP_MAX_SIZE_REACHED = 81: "the group is full";
    FENCED_INSTANCE_ID = 82: "another member took this group instance id";
    ELIGIBLE_LEADERS_NOT_AVAILABLE = 83, retriable: "no eligible leader is available";
    ELECTION_NOT_NEEDED = 84, retriable: "the partition is led by the right broker already";
    NO_REASSIGNMENT_IN_PROGRESS = 85: "no reassignment is under way";
    GROUP_SUBSCRIBED_TO_TOPIC = 86: "the group is subscribed to the topic";
    INVALID_RECORD = 87: "a record was refused by the broker's checks";
    UNSTABLE_OFFSET_COMMIT = 88, retriable: "offsets of an open transaction are in the way";
    THROTTLING_QUOTA_EXCEEDED = 89, retriable: "the quota is exceeded, try later";
    PRODUCER_FENCED = 90: "a newer producer has this transactional id";
    RESOURCE_NOT_FOUND = 91: "there is no such resource";
    DUPLICATE_RESOURCE = 92: "the resource is named twice";
    UNACCEPTABLE_CREDENTIAL = 93: "the credential is not acceptable";
    INCONSISTENT_VOTER_SET = 94: "the voters of the quorum do not agree";
    INVALID_UPDATE_VERSION = 95: "the feature update is invalid";
    FEATURE_UPDATE_FAILED = 96: "the feature could not be updated";
    PRINCIPAL_DESERIALIZATION_FAILURE = 97: "the forwarded principal cannot be read";
    SNAPSHOT_NOT_FOUND = 98: "there is no such snapshot";
    POSITION_OUT_OF_RANGE = 99: "the position is outside the snapshot";
    UNKNOWN_TOPIC_ID = 100, retriable: "there is no topic of this id";
    DUPLICATE_BROKER_REGISTRATION = 101: "the broker id is in use";
    BROKER_ID_NOT_REGISTERED = 102: "the broker id is not registered";
    INCONSISTENT_TOPIC_ID = 103, retriable: "the topic id is not the log's";
    INCONSISTENT_CLUSTER_ID = 104: "the cluster id is not this cluster's";
    TRANSACTIONAL_ID_NOT_FOUND = 105: "there is no such transactional id";
    FETCH_SESSION_TOPIC_ID_ERROR = 106, retriable: "the fetch session mixes topic names and ids";
    INELIGIBLE_REPLICA = 107: "a replica is not eligible to be in sync";
    NEW_LEADER_ELECTED = 108: "the partition was changed and has a new leader";
    OFFSET_MOVED_TO_TIERED_STORAGE = 109: "the offset has moved to tiered storage";
    FENCED_MEMBER_EPOCH = 110: "the member was fenced, join again";
    UNRELEASED_INSTANCE_ID = 111: "another member still holds this group instance id";
    UNSUPPORTED_ASSIGNOR = 112: "the assignor is not supported";
    STALE_MEMBER_EPOCH = 113: "the member epoch is out of date";
    MISMATCHED_ENDPOINT_TYPE = 114: "the request went to the wrong type of endpoint";
    UNSUPPORTED_ENDPOINT_TYPE = 115: "the endpoint type is not supported";
    UNKNOWN_CONTROLLER_ID = 116: "there is no such controller";
    UNKNOWN_SUBSCRIPTION_ID = 117: "the telemetry subscription id is out of date";
    TELEMETRY_TOO_LARGE = 118: "the telemetry is larger than the broker accepts";
    INVALID_REGISTRATION = 119: "the broker's registration is invalid";
    TRANSACTION_ABORTABLE = 120: "the transaction can only be aborted";
    INVALID_RECORD_STATE = 121: "the record is in a state that does not allow it";
    SHARE_SESSION_NOT_FOUND = 122, retriable: "there is no such share session";
    INVALID_SHARE_SESSION_EPOCH = 123, retriable: "the share session epoch is invalid";
    FENCED_STATE_EPOCH = 124: "the share group's state epoch is out of date";
    INVALID_VOTER_KEY = 125: "the voter key is not the replica's";
    DUPLICATE_VOTER = 126: "the voter is in the set already";
    VOTER_NOT_FOUND = 127: "the voter is not in the set";
    INVALID_REGULAR_EXPRESSION = 128: "the regular expression is invalid";
    REBOOTSTRAP_REQUIRED = 129: "the client should bootstrap again";
    STREAMS_INVALID_TOPOLOGY = 130: "the streams topology is invalid";
    STREAMS_INVALID_TOPOLOGY_EPOCH = 131: "the streams topology epoch is invalid";
    STREAMS_TOPOLOGY_FENCED = 132: "the streams topology epoch is out of date";
    SHARE_SESSION_LIMIT_REACHED = 133, retriable: "there are too many share sessions";
}
