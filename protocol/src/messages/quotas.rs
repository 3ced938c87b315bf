//! Client quotas.

use crate::error_code::ErrorCode;
use crate::wire::Str;

messages! {
    /// Asks for the quotas of matching entities.
    DescribeClientQuotasRequest { components: Vec<QuotaFilterComponent>, strict: bool }
    QuotaFilterComponent { entity_type: Str, match_type: i8, match_value: Option<Str> }
    /// The quotas.
    DescribeClientQuotasResponse {
        throttle_time_ms: i32, error_code: ErrorCode, error_message: Option<Str>,
        entries: Option<Vec<DescribedQuota>>,
    }
    DescribedQuota { entity: Vec<QuotaEntity>, values: Vec<QuotaValue> }
    QuotaEntity { entity_type: Str, entity_name: Option<Str> }
    QuotaValue { key: Str, value: f64 }
    /// Sets and removes quotas.
    AlterClientQuotasRequest { entries: Vec<AlterQuotaEntry>, validate_only: bool }
    AlterQuotaEntry { entity: Vec<QuotaEntity>, ops: Vec<QuotaOp> }
    QuotaOp { key: Str, value: f64, remove: bool }
    /// Whether each was changed.
    AlterClientQuotasResponse { throttle_time_ms: i32, entries: Vec<AlteredQuota> }
    AlteredQuota { error_code: ErrorCode, error_message: Option<Str>, entity: Vec<QuotaEntity> }
}
