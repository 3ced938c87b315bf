//! Why the coordinator refuses, and the protocol's number for it.

use tidelog_protocol::ErrorCode;

/// A refusal of the group coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A commit's metadata is longer than `offset.metadata.max.bytes`.
    #[error("offset metadata too large")]
    OffsetMetadataTooLarge,
    /// The group is gone; the client looks up its coordinator and tries again.
    #[error("coordinator not available")]
    CoordinatorNotAvailable,
    /// Nothing more can be stored: the disk is full. The client tries again.
    #[error("the disk is full, so nothing was committed")]
    NoRoom,
    /// Too much waits to be stored already. The client tries again.
    #[error("the disk is far behind, so nothing was stored")]
    Behind,
    /// The group's records could not be read at start, and nobody knows where it was.
    #[error("what is stored of the group cannot be read, as the broker's log says")]
    Unreadable,
    /// The request is of another generation than the group's.
    #[error("illegal generation")]
    IllegalGeneration,
    /// The member shares no protocol, or not the protocol type, with the group.
    #[error("inconsistent group protocol")]
    InconsistentGroupProtocol,
    /// No such member.
    #[error("unknown member id")]
    UnknownMemberId,
    /// The session timeout is outside the broker's limits.
    #[error("invalid session timeout")]
    InvalidSessionTimeout,
    /// The member has to rejoin.
    #[error("rebalance in progress")]
    RebalanceInProgress,
    /// A limit of this broker is passed: protocols, or metadata, of a member.
    #[error("invalid request")]
    InvalidRequest,
    /// Only an empty group can be deleted.
    #[error("group not empty")]
    NonEmptyGroup,
    /// No such group.
    #[error("group id not found")]
    GroupIdNotFound,
    /// The group is full.
    #[error("group max size reached")]
    GroupMaxSizeReached,
    /// Another member took over this group instance id (KIP-345).
    #[error("fenced instance id")]
    FencedInstanceId,
    /// The group consumes the topic whose offsets were to be deleted.
    #[error("group subscribed to topic")]
    GroupSubscribedToTopic,
    /// The member is at another epoch, and has to join again with nothing.
    #[error("fenced member epoch")]
    FencedMemberEpoch,
    /// A commit or its like is of another epoch than the member's.
    #[error("stale member epoch")]
    StaleMemberEpoch,
    /// Another member still has this group instance id.
    #[error("unreleased instance id")]
    UnreleasedInstanceId,
    /// No such assignor.
    #[error("unsupported assignor")]
    UnsupportedAssignor,
    /// The subscription's expression cannot be read.
    #[error("invalid regular expression")]
    InvalidRegularExpression,
    /// A version that cannot say what the group's protocol needs.
    #[error("unsupported version")]
    UnsupportedVersion,
}

impl From<Error> for ErrorCode {
    fn from(error: Error) -> Self {
        match error {
            Error::OffsetMetadataTooLarge => Self::OFFSET_METADATA_TOO_LARGE,
            Error::CoordinatorNotAvailable | Error::NoRoom | Error::Behind => {
                Self::COORDINATOR_NOT_AVAILABLE
            }
            // As for a partition that is offline. In a group's answers clients take it for final,
            // and show its text: they need not try again until an operator has seen to it.
            Error::Unreadable => Self::KAFKA_STORAGE_ERROR,
            Error::IllegalGeneration => Self::ILLEGAL_GENERATION,
            Error::InconsistentGroupProtocol => Self::INCONSISTENT_GROUP_PROTOCOL,
            Error::UnknownMemberId => Self::UNKNOWN_MEMBER_ID,
            Error::InvalidSessionTimeout => Self::INVALID_SESSION_TIMEOUT,
            Error::RebalanceInProgress => Self::REBALANCE_IN_PROGRESS,
            Error::InvalidRequest => Self::INVALID_REQUEST,
            Error::NonEmptyGroup => Self::NON_EMPTY_GROUP,
            Error::GroupIdNotFound => Self::GROUP_ID_NOT_FOUND,
            Error::GroupMaxSizeReached => Self::GROUP_MAX_SIZE_REACHED,
            Error::FencedInstanceId => Self::FENCED_INSTANCE_ID,
            Error::GroupSubscribedToTopic => Self::GROUP_SUBSCRIBED_TO_TOPIC,
            Error::FencedMemberEpoch => Self::FENCED_MEMBER_EPOCH,
            Error::StaleMemberEpoch => Self::STALE_MEMBER_EPOCH,
            Error::UnreleasedInstanceId => Self::UNRELEASED_INSTANCE_ID,
            Error::UnsupportedAssignor => Self::UNSUPPORTED_ASSIGNOR,
            Error::InvalidRegularExpression => Self::INVALID_REGULAR_EXPRESSION,
            Error::UnsupportedVersion => Self::UNSUPPORTED_VERSION,
        }
    }
}
