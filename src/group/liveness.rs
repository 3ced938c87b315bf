//! Heartbeat and LeaveGroup: who is still there.

use super::{Effect, Error, Group, Now, Reply, State, Timer};
use tidelog_protocol::Str;

/// A sign of life.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat {
    /// The member.
    pub member_id: Str,
    /// Set by static members.
    pub group_instance_id: Option<Str>,
    /// The generation the member is in.
    pub generation: i32,
}

/// A member that leaves, or is made to.
#[derive(Clone, Debug, Default)]
pub struct LeavingMember {
    /// Empty when an administrator names the instance only.
    pub member_id: Str,
    /// Set for static members (version 3).
    pub group_instance_id: Option<Str>,
}

impl<T> Group<T> {
    /// A member is alive and asks whether it has to rejoin.
    pub fn heartbeat(&mut self, now: Now, beat: Heartbeat, ticket: T, out: &mut Vec<Effect<T>>) {
        if let State::Consumer(_) = self.state {
            let reply = self.heartbeat_of_classic(now, &beat);
            return out.push(Effect::Reply(ticket, reply));
        }
        let instance = beat.group_instance_id.as_ref();
        let reply = match self.check_member(&beat.member_id, instance, beat.generation) {
            Err(error) => Reply::Failed(error),
            Ok(()) => {
                self.touch(now, &beat.member_id);
                match self.state {
                    State::PreparingRebalance(_) => Reply::Failed(Error::RebalanceInProgress),
                    _ => Reply::Done,
                }
            }
        };
        out.push(Effect::Reply(ticket, reply));
    }

    /// Members leave; the reply has an outcome for each.
    pub fn leave(
        &mut self,
        now: Now,
        members: Vec<LeavingMember>,
        ticket: T,
        out: &mut Vec<Effect<T>>,
    ) {
        if matches!(self.state, State::Dead) {
            let reply = Reply::Failed(Error::CoordinatorNotAvailable);
            return out.push(Effect::Reply(ticket, reply));
        }
        if let State::Consumer(_) = self.state {
            let left = self.leave_consumer(now, &members, out);
            return out.push(Effect::Reply(ticket, Reply::Each(left)));
        }
        let left = members.iter().map(|member| self.leave_one(member, out)).collect();
        out.push(Effect::Reply(ticket, Reply::Each(left)));
        self.after_removal(now, out);
    }

    fn leave_one(&mut self, member: &LeavingMember, out: &mut Vec<Effect<T>>) -> Result<(), Error> {
        let (id, instance) = (&member.member_id, member.group_instance_id.as_ref());
        if instance.is_none() && self.pending.remove(id) {
            self.timers.cancel(&Timer::Pending(id.clone()));
            return Ok(());
        }
        let id = match instance.filter(|_| id.is_empty()) {
            Some(instance) => self.members.instance(instance).ok_or(Error::UnknownMemberId)?,
            None => id,
        };
        let id = id.clone();
        self.members.check(&id, instance)?;
        self.remove(&id, Error::UnknownMemberId, out);
        Ok(())
    }

    /// Whether a request comes from a member of the current generation.
    pub(super) fn check_member(
        &self,
        id: &str,
        instance: Option<&Str>,
        generation: i32,
    ) -> Result<(), Error> {
        if matches!(self.state, State::Dead) {
            return Err(Error::CoordinatorNotAvailable);
        }
        self.members.check(id, instance)?;
        match generation == self.durable.generation() {
            true => Ok(()),
            false => Err(Error::IllegalGeneration),
        }
    }
}
