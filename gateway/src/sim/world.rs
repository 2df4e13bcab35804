//! A whole simulated cluster, and what happens to it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use hubbub_common::ids::{RoomId, UserId};
use hubbub_common::shard::Shards;
use tokio::time::sleep;

use super::client::Client;
use super::control::Control;
use super::gateway::Gateway;
use super::link::{Link, Way, let_everything_arrive};
use super::oracle::{Oracle, Seen, Violation};
use super::plan::Plan;
use super::redis::Redis;
use super::scene::Scene;
use super::truth::Truth;

/// By when, in simulated time, everybody has heard everything once all faults are over.
const SETTLED_MS_MAX: u64 = 120_000;

/// How long everything is left alone, before everybody comes back once more.
const CALM: Duration = Duration::from_secs(5);
/// How long replicas may take to confirm.
const CONFIRMS_WITHIN: Duration = Duration::from_secs(1);

/// What there was to see.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) broken: Option<Violation>,
    pub(super) hash: u64,
    pub(super) seen: Seen,
    pub(super) stored: usize,
    pub(super) last_lines: String,
    pub(super) plan: String,
}

/// The life of the world with this seed.
pub(super) fn simulate(seed: u64, lines_max: usize) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async move {
        let mut world = World::new(seed, lines_max);
        let broken = world.live().await.err();
        Outcome {
            broken,
            hash: world.scene.hash(),
            seen: world.oracle.seen,
            stored: world.oracle.truth.len(),
            last_lines: world.scene.last_lines(),
            plan: format!("{:?}", world.plan),
        }
    })
}

struct World {
    scene: Rc<Scene>,
    plan: Plan,
    redis: Rc<Redis>,
    seats: Vec<Place>,
    clients: Vec<Client>,
    oracle: Oracle,
    gateways: Vec<Option<Gateway>>,
    control: Control,
    outage_until_ms: u64,
    /// Connections are refused until then, because Redis starts, or another one takes its place.
    restart_until_ms: u64,
    /// The replica gets nothing until then.
    replica_lags_until_ms: u64,
}

/// Where a gateway stands, whether it runs or not.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    skew_ms: i64,
    /// A dead gateway is started again then.
    back_at_ms: u64,
    /// A draining one is ended then.
    ends_at_ms: Option<u64>,
    /// Its way to Redis is open again then.
    cut_until_ms: u64,
}

impl World {
    fn new(seed: u64, lines_max: usize) -> Self {
        let scene = Rc::new(Scene::new(seed, lines_max));
        let plan = Plan::draw(&scene);
        let redis = Rc::new(Redis::new(&scene));
        let rooms: Vec<RoomId> = (1..=plan.rooms).map(|room| RoomId::new(room).unwrap()).collect();
        let of_all = (&scene, &redis);
        let clients = (0..plan.clients)
            .map(|number| Client::new(number, 1 + number % plan.users, of_all, plan.habits, &rooms))
            .collect();
        let shards = Shards::new(plan.shards).unwrap();
        let window_ms = plan.window_s * 1_000;
        let truth = Truth::new(window_ms, shards);
        Self {
            clients,
            oracle: Oracle::new(truth, &plan),
            gateways: (0..plan.gateways).map(|_| None).collect(),
            seats: vec![Place::default(); plan.gateways],
            control: Control::new(&scene, &redis, shards, window_ms, plan.users, &rooms),
            outage_until_ms: 0,
            restart_until_ms: 0,
            replica_lags_until_ms: 0,
            redis,
            plan,
            scene,
        }
    }

    async fn live(&mut self) -> Result<(), Violation> {
        for _ in 0..self.plan.steps {
            self.tamper();
            self.step(false).await?;
            let pause_ms = match self.scene.below(100) {
                0..60 => self.scene.below(4),
                60..90 => self.scene.between(4, 40),
                90..98 => self.scene.between(40, 400),
                _ => self.scene.between(400, 3_000),
            };
            self.pass(pause_ms).await;
        }
        self.settle().await
    }

    /// Everybody gets a turn.
    async fn step(&mut self, thorough: bool) -> Result<(), Violation> {
        self.redis.take_late();
        self.control.fill();
        if self.replica_lags_until_ms <= self.scene.now_ms() {
            self.redis.replicate(usize::MAX);
        }
        self.start_gateways();
        self.gateways.iter().flatten().for_each(Gateway::look_for_trouble);
        let mut turns: Vec<(usize, usize)> = Vec::new();
        for (index, gateway) in self.gateways.iter().enumerate() {
            turns.extend((0..gateway.as_ref().map_or(0, Gateway::cores)).map(|core| (index, core)));
        }
        self.scene.shuffle(&mut turns);
        for (index, core) in turns {
            if let Some(gateway) = &mut self.gateways[index] {
                gateway.turn(core, &self.scene, thorough);
            }
        }
        let mut order: Vec<usize> = (0..self.clients.len()).collect();
        self.scene.shuffle(&mut order);
        for index in order {
            self.absorb_fresh();
            self.clients[index].step(&self.gateways, &mut self.oracle)?;
        }
        // The engines look at what the cores asked.
        self.pass(0).await;
        Ok(())
    }

    fn absorb_fresh(&mut self) {
        for stored in self.redis.take_fresh() {
            self.oracle.truth.absorb(&stored);
        }
    }

    /// Time passes for the engines and for Redis.
    async fn pass(&mut self, time_ms: u64) {
        let mut passed = pin!(sleep(Duration::from_millis(time_ms)));
        poll_fn(|context| {
            for gateway in self.gateways.iter_mut().flatten() {
                gateway.poll_engine(context);
            }
            if time_ms == 0 { Poll::Ready(()) } else { passed.as_mut().poll(context) }
        })
        .await;
    }

    fn start_gateways(&mut self) {
        let now_ms = self.scene.now_ms();
        for index in 0..self.gateways.len() {
            let place = self.seats[index];
            if place.ends_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
                self.end_gateway(index, 500);
            } else if self.gateways[index].is_none() && place.back_at_ms <= now_ms {
                let name = format!("g{index}");
                let confirms_within = self.plan.replicated.then_some(CONFIRMS_WITHIN);
                let link = Link::new(&self.scene, &self.redis, &name, confirms_within);
                link.lost_per_mille.set(self.plan.losses);
                link.refused_per_mille.set(self.plan.refusals);
                self.scene.note(format_args!("{name:<7} starts"));
                self.gateways[index] = Some(Gateway::start(&self.plan.gateway, &name, link, place.skew_ms));
            }
        }
    }

    fn end_gateway(&mut self, index: usize, away_ms: u64) {
        if self.gateways[index].take().is_some() {
            self.scene.note(format_args!("g{index:<6} dies"));
        }
        let place = &mut self.seats[index];
        place.ends_at_ms = None;
        place.back_at_ms = self.scene.now_ms() + away_ms;
    }

    /// Makes trouble.
    fn tamper(&mut self) {
        let scene = Rc::clone(&self.scene);
        let now_ms = scene.now_ms();
        let index = usize::try_from(scene.below(self.gateways.len() as u64)).unwrap();
        if scene.happens(self.plan.outages) && self.outage_until_ms <= now_ms {
            self.outage_until_ms = now_ms + scene.between(50, 8_000);
            scene.note(format_args!("redis   goes away"));
        }
        if scene.happens(self.plan.cuts) {
            let cut_until_ms = now_ms + scene.between(20, self.plan.cut_ms_max);
            let place = &mut self.seats[index];
            place.cut_until_ms = place.cut_until_ms.max(cut_until_ms);
        }
        self.lose_data();
        for (number, gateway) in self.gateways.iter().enumerate() {
            let Some(gateway) = gateway else { continue };
            let is_cut = now_ms < self.outage_until_ms.max(self.seats[number].cut_until_ms);
            let way = match (is_cut, gateway.link.way()) {
                _ if now_ms < self.restart_until_ms => Way::Refusing,
                (false, _) => Way::Open,
                (true, Way::Open) => *scene.one_of(&[Way::Refusing, Way::Silent]),
                // A Redis that hangs is killed, one that is killed comes back half.
                (true, _) if scene.happens(50) => *scene.one_of(&[Way::Refusing, Way::Silent]),
                (true, same) => same,
            };
            if way != gateway.link.way() {
                scene.note(format_args!("g{number:<6} finds Redis {way:?}"));
                gateway.link.set_way(way);
            }
        }
        if scene.happens(self.plan.deaths) {
            self.end_gateway(index, *scene.one_of(&[0, 100, 3_000, 20_000]));
        }
        if scene.happens(self.plan.drains)
            && let Some(gateway) = &self.gateways[index]
            && self.seats[index].ends_at_ms.is_none()
        {
            scene.note(format_args!("g{index:<6} drains"));
            gateway.drain();
            self.seats[index].ends_at_ms = Some(now_ms + scene.between(100, 5_000));
        }
        if let Some(gateway) = &mut self.gateways[index] {
            if scene.happens(self.plan.stalls) {
                let core = usize::try_from(scene.below(gateway.cores() as u64)).unwrap();
                gateway.stall(core, now_ms + scene.between(10, 3_000));
            }
            if scene.happens(self.plan.lags) {
                gateway.link.latency_ms_max.set(*scene.one_of(&[0, 2, 2, 30, 300]));
                gateway.link.reads_at_once_max.set(*scene.one_of(&[1, 3, 100]));
            }
            if scene.happens(self.plan.jumps) {
                let skew_ms = self.plan.draw_skew_ms(&scene);
                scene.note(format_args!("g{index:<6} has its clock set to {skew_ms} ms"));
                self.seats[index].skew_ms = skew_ms;
                gateway.machine.set_skew_ms(skew_ms);
            }
        }
        // Ids are times: whoever loses some must not set its clock back on top of that.
        if scene.happens(self.plan.jumps) && !self.plan.loses_data() {
            let skew_ms = self.plan.draw_skew_ms(&scene);
            scene.note(format_args!("redis   has its clock set to {skew_ms} ms"));
            self.redis.machine.set_skew_ms(skew_ms);
        }
        self.keep_house();
    }

    /// Redis fails over to its replica, or comes back empty.
    fn lose_data(&mut self) {
        let (scene, now_ms) = (&self.scene, self.scene.now_ms());
        if self.plan.fail_overs > 0 && scene.happens(50) {
            self.replica_lags_until_ms = now_ms + scene.below(2_000);
        }
        let (fails_over, is_emptied) =
            (scene.happens(self.plan.fail_overs), scene.happens(self.plan.empties));
        if now_ms < self.restart_until_ms || !fails_over && !is_emptied {
            return;
        }
        self.restart_until_ms = now_ms + scene.between(50, 4_000);
        self.redis.lose_late();
        self.absorb_fresh();
        self.oracle.seen.lost += 1;
        if fails_over {
            let lost = self.redis.fail_over();
            self.oracle.truth.lose(|entry| lost.contains(&(entry.shard, entry.id)));
        } else {
            self.redis.forget_everything();
            self.control.lost_redis();
            self.oracle.truth.lose_everything();
        }
    }

    /// What the control plane does.
    fn keep_house(&mut self) {
        if self.scene.now_ms() < self.restart_until_ms {
            return;
        }
        if self.scene.happens(self.plan.persists) {
            self.control.persist(&self.oracle.truth);
        }
        if self.scene.happens(self.plan.trims) {
            self.control.trim(&mut self.oracle.truth);
        }
        if self.scene.happens(self.plan.roles) {
            self.control.change_role();
        }
        if self.scene.happens(self.plan.logouts) {
            self.control.end_login();
        }
    }

    /// All faults are over: everybody has to hear everything.
    async fn settle(&mut self) -> Result<(), Violation> {
        self.end_faults();
        self.until(Self::is_settled).await?;
        // Nothing was wrong for a while, so everybody is told what they missed: nothing.
        self.pass(u64::try_from(CALM.as_millis()).unwrap()).await;
        self.clients.iter_mut().for_each(Client::come_again);
        self.until(Self::is_settled).await?;
        self.until(Self::everybody_knows_who_is_online).await?;
        let_everything_arrive().await;
        self.step(true).await?;
        self.oracle.judge_attempts()
    }

    fn end_faults(&mut self) {
        self.scene.note(format_args!("all     faults are over"));
        (self.outage_until_ms, self.restart_until_ms, self.replica_lags_until_ms) = (0, 0, 0);
        for place in &mut self.seats {
            *place = Place { skew_ms: place.skew_ms, ..Place::default() };
        }
        for index in 0..self.gateways.len() {
            if self.gateways[index].as_ref().is_some_and(|one| one.status.is_draining()) {
                self.end_gateway(index, 0);
            }
        }
        for gateway in self.gateways.iter_mut().flatten() {
            gateway.link.mend();
            gateway.end_stalls();
        }
        self.plan.losses = 0;
        self.plan.refusals = 0;
        self.clients.iter_mut().for_each(Client::rest);
    }

    /// Lets time pass until it is so.
    async fn until(&mut self, is_so: impl Fn(&mut Self) -> Result<(), String>) -> Result<(), Violation> {
        let began_ms = self.scene.now_ms();
        loop {
            self.step(true).await?;
            self.pass(20).await;
            match is_so(self) {
                Ok(()) => return Ok(()),
                Err(what) if self.scene.now_ms() > began_ms + SETTLED_MS_MAX => {
                    return Err(format!("long after all faults {what}"));
                }
                Err(_) => {}
            }
        }
    }

    fn is_settled(&mut self) -> Result<(), String> {
        if self.redis.has_late() {
            return Err("something has not arrived".to_owned());
        }
        self.clients.iter().try_for_each(|client| client.is_settled(&self.oracle))
    }

    fn everybody_knows_who_is_online(&mut self) -> Result<(), String> {
        self.is_settled()?;
        let mut online: BTreeMap<RoomId, BTreeSet<UserId>> = BTreeMap::new();
        for (room, user) in self.clients.iter().flat_map(Client::whereabouts) {
            online.entry(room).or_default().insert(user);
        }
        let told = self.clients.iter().try_for_each(|client| client.knows_online(&online));
        if told.is_err() {
            let one = usize::try_from(self.scene.below(self.clients.len() as u64)).unwrap();
            self.clients[one].ask_presence(&online);
        }
        told.map_err(|what| format!("{what}: {:?}", self.redis.online.borrow()))
    }
}
