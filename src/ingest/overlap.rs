//! Parts of a batch under way at once: while one is compared with its records the next is read,
//! and those before wait for their syncs. Each begins to be carried out when the one before has
//! been, so mutations keep their order.

use super::batch::Batch;
use super::items::Part;
use super::outcomes::{Outcomes, Results};
use crate::http::ApiError;
use crate::task::begin_blocking;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Parts under way of one batch.
const PARTS_MAX: usize = 4;

/// Parts under way, in order.
pub(super) struct Overlap {
    batch: Arc<Batch>,
    /// Each with the number of its first item.
    parts: VecDeque<(usize, Pin<Box<Carried>>)>,
    /// Ends when the last of them has been carried out.
    turn: oneshot::Receiver<()>,
}

type Carried = dyn Future<Output = Result<Outcomes, ApiError>> + Send;

impl Overlap {
    /// Of a batch of which nothing has been read.
    pub(super) fn new(batch: Arc<Batch>) -> Self {
        let (nobody_before, turn) = oneshot::channel();
        // The receiver is here.
        let _ = nobody_before.send(());
        Self { batch, parts: VecDeque::new(), turn }
    }

    /// Begins a part, which comes to its end also when the client hangs up. Where there are as
    /// many as may be, waits for the first of them, whose results it adds.
    ///
    /// # Errors
    /// When that could not be carried out.
    pub(super) async fn begin(
        &mut self,
        part: Part,
        first: usize,
        results: &mut Results,
    ) -> Result<(), ApiError> {
        if self.parts.len() == PARTS_MAX {
            self.end_first(results).await?;
        }
        let (carried_out, next) = oneshot::channel();
        let turn = std::mem::replace(&mut self.turn, next);
        let (batch, permit) = (self.batch.clone(), self.batch.cluster.batch_parts.take().await);
        let carry_out = move || {
            let _permit = permit;
            let shares = batch.shares(&part, first, None);
            let before = turn.blocking_recv();
            before.map_err(|_| ApiError::internal("the part before was not carried out"))?;
            let outcomes = shares.mutate(None)?;
            // Nobody waits for the last.
            let _ = carried_out.send(());
            outcomes.settle();
            Ok(outcomes)
        };
        self.parts.push_back((first, Box::pin(begin_blocking(carry_out))));
        Ok(())
    }

    /// Waits for all that are under way, and adds their results.
    ///
    /// # Errors
    /// When one could not be carried out.
    pub(super) async fn end(mut self, results: &mut Results) -> Result<(), ApiError> {
        while !self.parts.is_empty() {
            self.end_first(results).await?;
        }
        Ok(())
    }

    async fn end_first(&mut self, results: &mut Results) -> Result<(), ApiError> {
        let Some((first, carried)) = self.parts.pop_front() else { return Ok(()) };
        let outcomes = carried.await?;
        outcomes.confirm().await;
        results.extend(&outcomes.results(first), false);
        Ok(())
    }
}
