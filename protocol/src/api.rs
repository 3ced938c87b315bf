//! The APIs we speak: key, versions, the first flexible version, request and response.

use crate::messages::*;

apis! {
    /// Which APIs and versions the broker speaks.
    ApiVersions = 18, versions 0..=4, flexible 3.., ApiVersionsRequest => ApiVersionsResponse;
}
