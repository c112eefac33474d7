//! The room that instances take in this process, divided between the workloads: memory mappings, of which Linux gives a
//! process 65,530, and address space, which `ulimit -v` may bound.
//!
//! A process without a mapping left cannot allocate memory, and aborts. So some room is kept for the host itself, and
//! an instance that does not fit is not made.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::declared::Declared;
use super::share::divide;
use super::system::{self, Supply};
use crate::config::units::show_size;
use crate::contract::Fault;

/// Mappings of one memory: before, in and after the part that the component fills, and the reservation.
const OF_A_MEMORY: u64 = 4;
/// Mappings of an instance beside its memories: its stack, the stack's guard, and a part of the heap.
const OF_AN_INSTANCE: u64 = 3;
/// Address space of an instance beside its memories.
const STACK: u64 = 4 << 20;
/// Address space around each memory.
const GUARD: u64 = 64 << 20;
/// How often the system is asked again while it gives less than is wanted.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// The room that one instance takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Need {
    mappings: u64,
    address: u64,
}

impl Need {
    /// The need of an instance of a component, where each memory reserves this much address space.
    pub(crate) fn of(declared: &Declared, reservation: u64) -> Self {
        let memories = declared.memories;
        Self {
            mappings: memories.saturating_mul(OF_A_MEMORY).saturating_add(OF_AN_INSTANCE),
            address: memories.saturating_mul(reservation.saturating_add(GUARD)).saturating_add(STACK),
        }
    }

    /// Of an instance with one memory: no component that does anything takes less.
    pub(crate) fn of_the_least(reservation: u64) -> Self {
        Self::of(&Declared { memories: 1, ..Declared::default() }, reservation)
    }

    /// # Errors
    /// If a process like this can never have so much: what it can have, and what mends it.
    pub(crate) fn fits_a_process(&self) -> Result<(), String> {
        let limit = system::supply(0).limits().address;
        if self.address <= limit {
            return Ok(());
        }
        Err(format!(
            "an instance takes {} of address space, and this process may have {} in all; raise that (`ulimit -v`)",
            show_size(&rough(self.address)),
            show_size(&rough(limit))
        ))
    }

    /// Memory mappings.
    #[cfg(test)]
    pub(crate) fn mappings(&self) -> u64 {
        self.mappings
    }
}

/// All room of this process, and how it is divided.
#[derive(Debug)]
pub(crate) struct Rooms {
    claims: Mutex<Claims>,
    /// The accounts of all shares together. A share that has just become smaller may be overdrawn.
    all: Accounts,
    /// Counts how often the shares were changed.
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct Claims {
    supply: Supply,
    next: u64,
    all: BTreeMap<u64, Arc<PluginShare>>,
}

/// The share of one workload's handler or policy.
#[derive(Debug, Default)]
struct PluginShare {
    /// The most instances that are wanted.
    instances: u64,
    /// What each instance takes.
    need: Mutex<Need>,
    has: Accounts,
}

#[derive(Debug, Default)]
struct Accounts {
    mappings: Account,
    address: Account,
}

#[derive(Debug, Default)]
struct Account {
    share: AtomicU64,
    used: AtomicU64,
}

impl Account {
    /// Takes `some`, if as much is left.
    fn take(&self, some: u64) -> bool {
        let fits = self.used.fetch_add(some, Relaxed).saturating_add(some) <= self.share.load(Relaxed);
        if !fits {
            self.give_back(some);
        }
        fits
    }

    fn give_back(&self, some: u64) {
        self.used.fetch_sub(some, Relaxed);
    }

    /// How many instances that need this much each fit at once.
    fn most(&self, need: u64) -> u64 {
        self.share.load(Relaxed).checked_div(need).unwrap_or(u64::MAX)
    }
}

impl Rooms {
    /// As much room as the system gives this process now.
    pub(crate) fn new() -> Arc<Self> {
        Self::of(system::supply(0))
    }

    fn of(supply: Supply) -> Arc<Self> {
        let claims = Mutex::new(Claims { supply, next: 0, all: BTreeMap::new() });
        let rooms = Self { claims, all: Accounts::default(), changed: watch::Sender::new(0) };
        rooms.divide(&rooms.claims.lock());
        Arc::new(rooms)
    }

    /// Asks for a share that is enough for this many instances.
    pub(crate) fn claim(self: &Arc<Self>, instances: u32) -> Arc<Room> {
        let part = Arc::new(PluginShare { instances: instances.into(), ..PluginShare::default() });
        let mut claims = self.claims.lock();
        let id = claims.next;
        claims.next += 1;
        claims.all.insert(id, part.clone());
        self.divide(&claims);
        drop(claims);
        Arc::new(Room { rooms: self.clone(), id, part })
    }

    /// Asks the system again how much room there is; it may give more than before.
    fn ask(&self) {
        let mut claims = self.claims.lock();
        let used = self.all.address.used.load(Relaxed);
        let supply = system::supply(used);
        if supply.limits() != claims.supply.limits() {
            claims.supply = supply;
            self.divide(&claims);
        }
    }

    fn divide(&self, claims: &Claims) {
        let needs: Vec<(u64, Need)> = claims.all.values().map(|part| (part.instances, part.need())).collect();
        let wants = |of: fn(&Need) -> u64| -> Vec<u64> {
            needs.iter().map(|(instances, need)| instances.saturating_mul(of(need))).collect()
        };
        let mappings = divide(claims.supply.mappings, &wants(|need| need.mappings));
        let address = divide(claims.supply.address, &wants(|need| need.address));
        for ((part, mappings), address) in claims.all.values().zip(mappings).zip(address) {
            part.has.mappings.share.store(mappings, Relaxed);
            part.has.address.share.store(address, Relaxed);
        }
        self.all.mappings.share.store(claims.supply.mappings, Relaxed);
        self.all.address.share.store(claims.supply.address, Relaxed);
        self.changed.send_modify(|times| *times += 1);
    }
}

impl PluginShare {
    fn need(&self) -> Need {
        *self.need.lock()
    }

    fn most(&self) -> u64 {
        let need = self.need();
        self.has.mappings.most(need.mappings).min(self.has.address.most(need.address))
    }
}

impl Accounts {
    /// Takes all of a need, or nothing.
    fn take(&self, need: Need) -> bool {
        let fits = self.mappings.take(need.mappings);
        if fits && !self.address.take(need.address) {
            self.mappings.give_back(need.mappings);
            return false;
        }
        fits
    }

    fn give_back(&self, need: Need) {
        self.mappings.give_back(need.mappings);
        self.address.give_back(need.address);
    }
}

/// The share of one workload's handler or policy. It is given back when this is dropped.
#[derive(Debug)]
pub struct Room {
    rooms: Arc<Rooms>,
    id: u64,
    part: Arc<PluginShare>,
}

impl Room {
    /// Sets what each instance takes from now on.
    pub(crate) fn each_needs(&self, need: Need) {
        let mut current = self.part.need.lock();
        if *current == need {
            return;
        }
        *current = need;
        drop(current);
        self.rooms.divide(&self.rooms.claims.lock());
    }

    /// Takes room for one more instance.
    ///
    /// # Errors
    /// [`Fault::Room`] if there is none.
    pub(crate) fn enter(&self, need: Need) -> Result<InstanceRoom, Fault> {
        self.each_needs(need);
        if !self.part.has.take(need) {
            return Err(Fault::Room(self.why()));
        }
        if !self.rooms.all.take(need) {
            self.part.has.give_back(need);
            return Err(Fault::Room(self.why()));
        }
        Ok(InstanceRoom { rooms: self.rooms.clone(), part: self.part.clone(), need })
    }

    /// How many instances fit into the share at once.
    pub(crate) fn most(&self) -> u32 {
        u32::try_from(self.part.most()).unwrap_or(u32::MAX)
    }

    /// Why no more instances fit, and what mends it.
    pub(crate) fn why(&self) -> String {
        let (need, limits) = (self.part.need(), self.rooms.claims.lock().supply.limits());
        let Accounts { mappings, address } = &self.part.has;
        if mappings.most(need.mappings) <= address.most(need.address) {
            let share = mappings.share.load(Relaxed);
            format!(
                "an instance takes up to {} memory mappings, and of the {} that vm.max_map_count allows this process \
                 its part is {share}; raise that (`sysctl -w vm.max_map_count={}`), lower scale.max, or run it on more \
                 hosts",
                need.mappings,
                limits.mappings,
                self.rooms.enough_mappings(),
            )
        } else {
            let share = address.share.load(Relaxed);
            format!(
                "an instance takes {} of address space, and of the {} that this process may have its part is {}; raise \
                 that (`ulimit -v`), lower scale.max, or run it on more hosts",
                show_size(&rough(need.address)),
                show_size(&rough(limits.address)),
                show_size(&rough(share)),
            )
        }
    }

    /// Changes when there may be room for another number of instances.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.rooms.changed.subscribe()
    }

    /// Waits a while, then asks the system whether it gives more room than before.
    pub(crate) async fn ask_for_more(&self) {
        tokio::time::sleep(ASK_AGAIN).await;
        self.rooms.ask();
    }
}

/// Rounds to whole mebibytes, for a message.
fn rough(bytes: u64) -> u64 {
    bytes & !((1 << 20) - 1)
}

impl Rooms {
    /// The vm.max_map_count that is enough for all that is wanted.
    fn enough_mappings(&self) -> u64 {
        let wants = |part: &Arc<PluginShare>| part.instances.saturating_mul(part.need().mappings);
        system::limit_for(self.claims.lock().all.values().map(wants).fold(0, u64::saturating_add))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut claims = self.rooms.claims.lock();
        claims.all.remove(&self.id);
        self.rooms.divide(&claims);
    }
}

/// The room of one instance. It is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct InstanceRoom {
    rooms: Arc<Rooms>,
    part: Arc<PluginShare>,
    need: Need,
}

impl Drop for InstanceRoom {
    fn drop(&mut self) {
        self.part.has.give_back(self.need);
        self.rooms.all.give_back(self.need);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn rooms(mappings: u64, address: u64) -> Arc<Rooms> {
        Rooms::of(Supply::of(mappings, address))
    }

    fn memories(memories: u64) -> Need {
        Need::of(&Declared { memories, ..Declared::default() }, 4 << 30)
    }

    #[test]
    fn a_guest_of_many_memories_is_held_to_its_own_part() {
        let rooms = rooms(60_000, u64::MAX);
        let (hungry, neighbour) = (rooms.claim(240), rooms.claim(100));
        hungry.each_needs(memories(98));
        neighbour.each_needs(memories(1));
        assert!(hungry.most() < 240 && hungry.most() > 100, "{}", hungry.most());
        let places: Vec<_> = std::iter::from_fn(|| hungry.enter(memories(98)).ok()).collect();
        assert_eq!(u32::try_from(places.len()).unwrap(), hungry.most());
        let all: Vec<_> = (0..100).map(|_| neighbour.enter(memories(1)).unwrap()).collect();
        assert_eq!(all.len(), 100);
        let Err(Fault::Room(why)) = hungry.enter(memories(98)) else { unreachable!() };
        assert!(why.contains("395 memory mappings") && why.contains("sysctl -w vm.max_map_count="), "{why}");
    }

    #[test]
    fn a_part_that_became_smaller_does_not_let_others_pass_the_whole() {
        let rooms = rooms(1_000, u64::MAX);
        let (one, other) = (rooms.claim(1_000), rooms.claim(1_000));
        let all: Vec<_> = std::iter::from_fn(|| one.enter(memories(1)).ok()).collect();
        assert!(all.len() > 100, "{}", all.len());
        other.each_needs(memories(1));
        assert!(one.most() < u32::try_from(all.len()).unwrap());
        assert!(other.most() > 0 && other.enter(memories(1)).is_err());
        drop(all);
        other.enter(memories(1)).unwrap();
    }

    #[test]
    fn room_that_is_left_can_be_entered_again() {
        let rooms = rooms(8, u64::MAX);
        let room = rooms.claim(1);
        let place = room.enter(memories(1)).unwrap();
        assert!(room.enter(memories(1)).is_err());
        drop(place);
        room.enter(memories(1)).unwrap();
    }

    #[test]
    fn a_small_address_space_has_room_for_few() {
        let rooms = rooms(u64::MAX, 13 << 30);
        let room = rooms.claim(100);
        room.each_needs(memories(1));
        assert_eq!(room.most(), 3);
        assert!(room.why().contains("ulimit -v"), "{}", room.why());
    }

    #[test]
    fn a_part_that_nobody_has_any_more_is_for_the_others() {
        let rooms = rooms(1_000, u64::MAX);
        let (one, other) = (rooms.claim(1_000), rooms.claim(1_000));
        one.each_needs(memories(1));
        other.each_needs(memories(1));
        let before = one.most();
        drop(other);
        assert!(one.most() > before);
    }
}
