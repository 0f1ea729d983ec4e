//! Six services on their addresses, and what the configuration means for each.
//!
//! [`Bound`] is made while ports below 1024 may be bound and keys may be read; [`Listeners`] is the same, served. The
//! configuration's words become the settings of machines and listeners here and nowhere else, at the start and on reload.

use std::sync::{Arc, Mutex, PoisonError};

use ::screening::Screener;
use admin::Listening;
use auth::Authenticator;
use events::Events;
use gate::{Delivery, Gate, IpNet, ListenerId, MailRates};
use mail::{Mechanism, Mechanisms};
use net::{Authorities, Budget, Certificates, Counters, Drain, Handshakes, NetError, Pair, Tls, WaitingRoom};
use pop3_listener::LoginDelay;
use recipients::Lookup;
use smtp::Role;
use store_embedded::Embedded;

use super::{ScreenerError, ServerError, screener, submission};
use crate::config::{Config, Listener};

/// Sockets that listen and certificates that were read; nothing is served yet.
pub(crate) struct Bound {
    sockets: Vec<(Service, net::Listener)>,
    certificates: Option<Arc<Certificates>>,
    authorities: Option<Authorities>,
}

/// What every listener stands on.
pub(crate) struct Services {
    pub(crate) gate: Arc<Gate>,
    pub(crate) rates: Arc<MailRates>,
    pub(crate) delivery: Delivery,
    pub(crate) store: Arc<Embedded>,
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) login_delay: Arc<LoginDelay>,
    pub(crate) events: Events,
    pub(crate) drain: Drain,
    pub(crate) counters: Arc<Counters>,
    pub(crate) budget: Budget,
}

/// The listeners, served.
pub(crate) struct Listeners {
    smtp: Vec<(Service, Role, smtp_listener::Listener)>,
    pop3: Vec<(Service, pop3_listener::Listener)>,
    listening: Vec<Listening>,
    has_tls: bool,
    /// Kept for as long as nothing about it changes: it remembers what DNS has said.
    screening: Mutex<(Config, Option<Arc<Screener>>)>,
    /// Likewise: it remembers what the database has said.
    lookup: Mutex<Asked>,
}

/// How addresses are asked about, and who asks.
type Asked = Option<(recipients::Settings, Arc<Lookup>)>;

/// What is spoken on an address, by its key under `listen`.
#[derive(Clone, Copy)]
struct Service {
    name: &'static str,
    speaks: Speaks,
    implicit_tls: bool,
}

#[derive(Clone, Copy)]
enum Speaks {
    Smtp(Role),
    Pop3,
}

impl Bound {
    /// Takes for every address of the configuration the socket that `sources` has for it, or binds one, and reads certificate
    /// and key.
    ///
    /// # Errors
    /// The address or the file, and why.
    pub(crate) fn new(config: &Config, mut sources: net::Listeners) -> Result<Self, NetError> {
        let pair = config.tls.certificate.clone().zip(config.tls.key.clone());
        let certificates = pair.map(|(certificate, key)| Certificates::load(vec![Pair { certificate, key }])).transpose()?;
        let authorities = Authorities::load(&config.tls.client_ca)?;
        let mut sockets = Vec::new();
        for (name, addresses) in config.listen.services() {
            let Some(service) = Service::named(name) else { continue };
            let addresses: Vec<_> = addresses.iter().map(|address| address.0).collect();
            sockets.extend(sources.open(&addresses)?.into_iter().map(|socket| (service, socket)));
        }
        Ok(Self { sockets, certificates, authorities })
    }

    /// The certificates, where TLS is spoken.
    pub(crate) fn certificates(&self) -> Option<Arc<Certificates>> {
        self.certificates.clone()
    }
}

impl Listeners {
    /// Serves all that is bound. The gate still refuses everybody.
    ///
    /// # Errors
    /// TLS that cannot be set up, or a name POP3 cannot say.
    pub(crate) fn start(bound: Bound, services: &Services, config: &Config) -> Result<Self, ServerError> {
        pop3_machine(config, bound.certificates.is_some()).check()?;
        let authorities = bound.authorities.as_ref();
        let tls = bound.certificates.map(|certificates| Encryption::new(&certificates, authorities, services, config)).transpose()?;
        let screening = Mutex::new((config.clone(), screener(config)?));
        let mut listeners =
            Self { smtp: Vec::new(), pop3: Vec::new(), listening: Vec::new(), has_tls: tls.is_some(), screening, lookup: Mutex::default() };
        for (number, (service, socket)) in bound.sockets.into_iter().enumerate() {
            let id = ListenerId(u16::try_from(number).unwrap_or(u16::MAX));
            let encryption = tls.as_ref().map(|tls| tls.of(service));
            listeners.listening.push(Listening { service: service.name.into(), address: socket.local() });
            match service.speaks {
                Speaks::Smtp(role) => listeners.serve_smtp(id, service, role, socket, services, config, encryption),
                Speaks::Pop3 => listeners.serve_pop3(id, service, socket, services, config, encryption),
            }
        }
        Ok(listeners)
    }

    /// Each service and where it listens.
    pub(crate) fn listening(&self) -> Vec<Listening> {
        self.listening.clone()
    }

    /// Who screens by another configuration.
    ///
    /// # Errors
    /// There is no DNS server to ask, or a password cannot be read.
    pub(crate) fn screener(&self, config: &Config) -> Result<Option<Arc<Screener>>, ScreenerError> {
        let (present, screener_of_it) = &*self.screening.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = present.screening == config.screening && present.hostname() == config.hostname();
        if is_same { Ok(screener_of_it.clone()) } else { screener(config) }
    }

    /// Serves new sessions by another configuration, screened by its `screener`.
    pub(crate) fn configure(&self, config: &Config, screener: Option<Arc<Screener>>) {
        let lookup = lookup(&mut self.lookup.lock().unwrap_or_else(PoisonError::into_inner), config);
        for (service, role, listener) in &self.smtp {
            listener.configure(smtp_settings(config, *service, *role, self.has_tls, screener.clone(), lookup.clone()));
        }
        *self.screening.lock().unwrap_or_else(PoisonError::into_inner) = (config.clone(), screener);
        for (service, listener) in &self.pop3 {
            listener.configure(pop3_settings(config, *service, self.has_tls));
        }
    }

    #[expect(clippy::too_many_arguments, reason = "each is one thing a listener is made of, said once")]
    fn serve_smtp(
        &mut self,
        id: ListenerId,
        service: Service,
        role: Role,
        socket: net::Listener,
        services: &Services,
        config: &Config,
        tls: Option<Tls>,
    ) {
        let Services { gate, rates, delivery, store, authenticator, events, drain, .. } = services;
        let ground = smtp_listener::Ground {
            gate: Arc::clone(gate),
            rates: Arc::clone(rates),
            delivery: delivery.clone(),
            store: store.clone(),
            authenticator: Arc::clone(authenticator),
            events: events.clone(),
            drain: drain.clone(),
        };
        let screener = self.screening.get_mut().unwrap_or_else(PoisonError::into_inner).1.clone();
        let lookup = lookup(self.lookup.get_mut().unwrap_or_else(PoisonError::into_inner), config);
        let settings = smtp_settings(config, service, role, self.has_tls, screener, lookup);
        let listener = smtp_listener::Listener::new(id, service.name, &ground, tls, service.implicit_tls, settings);
        self.smtp.push((service, role, listener.clone()));
        services.accept(socket, listener);
    }

    fn serve_pop3(
        &mut self,
        id: ListenerId,
        service: Service,
        socket: net::Listener,
        services: &Services,
        config: &Config,
        tls: Option<Tls>,
    ) {
        let Services { gate, rates, store, authenticator, login_delay, events, drain, .. } = services;
        let ground = pop3_listener::Ground {
            gate: Arc::clone(gate),
            store: store.clone(),
            rates: Arc::clone(rates),
            authenticator: Arc::clone(authenticator),
            login_delay: Arc::clone(login_delay),
            events: events.clone(),
            drain: drain.clone(),
        };
        let settings = pop3_settings(config, service, self.has_tls);
        let listener = pop3_listener::Listener::new(id, service.name, &ground, tls, service.implicit_tls, settings);
        self.pop3.push((service, listener.clone()));
        services.accept(socket, listener);
    }
}

impl Services {
    fn accept<S: net::Service>(&self, socket: net::Listener, service: S) {
        let (drain, counters, budget) = (self.drain.clone(), Arc::clone(&self.counters), self.budget.clone());
        self.drain.spawn_background(async move {
            if let Err(error) = net::serve(socket, Arc::new(service), drain, counters, budget).await {
                tracing::error!(%error, "a listener has ended");
            }
        });
    }
}

impl Service {
    fn named(name: &str) -> Option<Self> {
        let of = |name, speaks, implicit_tls| Some(Self { name, speaks, implicit_tls });
        match name {
            "smtp" => of("smtp", Speaks::Smtp(Role::Relay), false),
            "submission" => of("submission", Speaks::Smtp(Role::Submission), false),
            "submissions" => of("submissions", Speaks::Smtp(Role::Submission), true),
            "lmtp" => of("lmtp", Speaks::Smtp(Role::Lmtp), false),
            "pop3" => of("pop3", Speaks::Pop3, false),
            "pop3s" => of("pop3s", Speaks::Pop3, true),
            _ => None,
        }
    }

    /// Who asks what is asked here.
    fn screener(self, config: &Config, whole: &Screener) -> Arc<Screener> {
        let here = match (self.speaks, self.implicit_tls) {
            (Speaks::Smtp(Role::Relay), _) => Some(Listener::Smtp),
            (Speaks::Smtp(Role::Submission), false) => Some(Listener::Submission),
            (Speaks::Smtp(Role::Submission), true) => Some(Listener::Submissions),
            // What comes there is judged already.
            (Speaks::Smtp(Role::Lmtp) | Speaks::Pop3, _) => None,
        };
        let rules = &config.screening.checks;
        Arc::new(whole.only(|number, _| rules.get(number).is_some_and(|rule| here.is_some_and(|here| rule.listeners.contains(&here)))))
    }

    fn waiting_room(self, config: &Config) -> Option<WaitingRoom> {
        let (_, patience) = config.when_full.services().into_iter().find(|(name, _)| *name == self.name)?;
        patience.room()
    }
}

/// TLS for other servers, some of which break on session tickets, and for people, whose clients resume and may have certificates.
struct Encryption {
    of_servers: Tls,
    of_people: Tls,
}

impl Encryption {
    fn new(
        certificates: &Arc<Certificates>,
        authorities: Option<&Authorities>,
        services: &Services,
        config: &Config,
    ) -> Result<Self, NetError> {
        let limit = usize::try_from(config.tls.max_handshakes).unwrap_or(usize::MAX);
        let handshakes = Arc::new(Handshakes::new(limit, config.tls.handshake_timeout.0, Arc::clone(&services.counters)));
        let tls = |authorities, tickets| Tls::asking(authorities, Arc::clone(certificates), tickets, Arc::clone(&handshakes));
        Ok(Self { of_servers: tls(None, false)?, of_people: tls(authorities, true)? })
    }

    fn of(&self, service: Service) -> Tls {
        match service.speaks {
            Speaks::Smtp(Role::Relay | Role::Lmtp) => self.of_servers.clone(),
            Speaks::Smtp(Role::Submission) | Speaks::Pop3 => self.of_people.clone(),
        }
    }
}

/// Who is asked by this configuration; who was asked before, when nothing about it has changed.
fn lookup(asked: &mut Asked, config: &Config) -> Option<Arc<Lookup>> {
    let wanted = config.recipients.lookup(config.hostname());
    if asked.as_ref().map(|(settings, _)| settings) != wanted.as_ref() {
        *asked = wanted.map(|settings| (settings.clone(), Arc::new(Lookup::new(settings))));
    }
    asked.as_ref().map(|(_, lookup)| Arc::clone(lookup))
}

fn smtp_settings(
    config: &Config,
    service: Service,
    role: Role,
    has_tls: bool,
    screener: Option<Arc<Screener>>,
    lookup: Option<Arc<Lookup>>,
) -> smtp_listener::Settings {
    let Config { limits, timeouts, .. } = config;
    let usual = match role {
        Role::Relay => smtp::Settings::relay(config.hostname()),
        Role::Submission => smtp::Settings::submission(config.hostname()),
        Role::Lmtp => smtp::Settings::lmtp(config.hostname()),
    };
    let timing = smtp::Timing {
        command: timeouts.command.0,
        data_block: timeouts.data_block.0,
        data_rate_bytes: u32::try_from(timeouts.data_rate_bytes.0).unwrap_or(u32::MAX),
        data_grace: timeouts.data_grace.0,
        session: timeouts.session.0,
    };
    smtp_listener::Settings {
        smtp: Arc::new(smtp::Settings {
            starttls: has_tls,
            message_bytes: limits.message_bytes.0,
            recipients: limits.recipients,
            bad_commands: limits.bad_commands,
            idle_commands: limits.idle_commands,
            refused_recipients: limits.refused_recipients,
            auth_failures: limits.auth_failures,
            mechanisms: mechanisms(config),
            timing,
            ..usual
        }),
        hops: usize::try_from(limits.hops).unwrap_or(usize::MAX),
        relay_networks: config.relay.networks.iter().map(|network| network.0).collect(),
        lmtp_networks: config.relay.lmtp_networks.iter().map(|network| network.0).collect(),
        xclient_networks: config.relay.xclient_networks.iter().map(|network| network.0).collect(),
        messages: limits.messages,
        write_deadline: timeouts.write.0,
        waiting_room: service.waiting_room(config),
        trusted_proxies: trusted_proxies(config),
        submission: submission::submission(&config.submission),
        quota_warning_percent: config.recipients.quota_warning_percent,
        lookup,
        screener: screener.map(|screener| service.screener(config, &screener)),
    }
}

fn pop3_settings(config: &Config, service: Service, has_tls: bool) -> pop3_listener::Settings {
    pop3_listener::Settings {
        pop3: Arc::new(pop3_machine(config, has_tls)),
        write_deadline: config.timeouts.write.0,
        waiting_room: service.waiting_room(config),
        trusted_proxies: trusted_proxies(config),
    }
}

/// What AUTH takes, on connections that are fit for it.
fn mechanisms(config: &Config) -> Mechanisms {
    let scram = if config.auth.scram { Mechanisms::SCRAM } else { Mechanisms::NONE };
    let external = if config.tls.client_ca.is_empty() { Mechanisms::NONE } else { Mechanisms::NONE.with(Mechanism::External) };
    let tokens = if config.oauth.takes_tokens() { Mechanisms::TOKENS } else { Mechanisms::NONE };
    Mechanisms::PASSWORD.and(scram).and(external).and(tokens)
}

fn trusted_proxies(config: &Config) -> Vec<IpNet> {
    config.proxy.trusted_proxies.iter().map(|network| network.0).collect()
}

fn pop3_machine(config: &Config, has_tls: bool) -> pop3::Settings {
    let delay = config.pop3.login_delay.0;
    pop3::Settings {
        stls: has_tls,
        login_delay: (!delay.is_zero()).then_some(delay),
        bad_commands: config.limits.bad_commands,
        auth_failures: config.limits.auth_failures,
        mechanisms: mechanisms(config),
        timing: pop3::Timing { login: config.pop3.login.0, autologout: config.pop3.autologout.0, session: config.pop3.session.0 },
        ..pop3::Settings::new(config.hostname())
    }
}

/// Connections the kernel may keep for us; it caps this by net.core.somaxconn.
pub(crate) const BACKLOG: i32 = 4096;
