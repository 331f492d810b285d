//! What the room shows becomes what a program composes: who is an input, and what stands where.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::program::core::layout::{Arrangement, Source, arrange, card};
use crate::program::core::wire::Canvas;
use crate::program::{Card, Feed, InputId, InputSpec, Layout};
use crate::room::{Codec, MediaKind, ParticipantId, Session, Stage, TrackNumber, Transition};
use crate::rtc::core::TrackInfo;

/// A track that is to be part of the program: whose, and which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    pub participant: ParticipantId,
    pub session: Session,
    pub info: TrackInfo,
}

/// Someone who is part of the program, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub participant: ParticipantId,
    pub name: String,
    /// Shown large where the layout has a large place.
    pub is_featured: bool,
    /// They have a camera, or sound alone: then a card stands for the picture.
    pub is_seen: bool,
    /// What they send now, and is to be seen or heard.
    pub tracks: Vec<(TrackKey, Staged)>,
}

/// How long pictures take to move to their places.
const ANIMATION: Duration = Duration::from_millis(300);

/// The child waits no longer for a picture, and takes this long to change.
const STAY: Duration = Duration::from_millis(1200);

/// A place on the canvas is of a participant's camera, or of their screen.
type Place = (ParticipantId, bool);

/// Which track of which connection.
pub type TrackKey = (Session, TrackNumber);

/// One program's inputs and canvas.
pub struct Composition {
    feed: Feed,
    inputs: BTreeMap<TrackKey, (InputId, Staged)>,
    next_input: u32,
    layouts: Arc<[Layout]>,
    arrangement: Arrangement<Place>,
    shown: BTreeSet<TrackKey>,
    /// What is not to be seen any more, and goes on until what is to be seen instead is there.
    stays: BTreeMap<TrackKey, Instant>,
}

impl Composition {
    pub fn new(feed: Feed, layouts: Arc<[Layout]>) -> Self {
        Self {
            feed,
            inputs: BTreeMap::new(),
            next_input: 0,
            layouts,
            arrangement: Arrangement::default(),
            shown: BTreeSet::new(),
            stays: BTreeMap::new(),
        }
    }

    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Makes the program what is on stage, in the order of the stage, by this layout.
    pub fn put_on_stage(&mut self, cast: &[Member], stage: &Stage) {
        let cast = if stage.slate().is_some() { &[] } else { cast };
        let layout = stage.layout();
        let layouts = self.layouts.clone();
        let named = layouts.iter().find(|known| known.name == layout);
        let Some(layout) = named.or(layouts.first()) else {
            return;
        };
        let pictures: BTreeMap<Place, TrackKey> = cast.iter().flat_map(pictures).collect();
        let sources: Vec<Source<Place>> = cast
            .iter()
            .flat_map(|member| [(member, false), (member, true)])
            .map(|(member, is_screen)| (member, (member.participant, is_screen)))
            .filter(|(member, place)| pictures.contains_key(place) || (member.is_seen && !place.1))
            .map(|(member, place)| Source {
                key: place,
                is_screen: place.1,
                is_featured: member.is_featured,
            })
            .collect();
        let canvas_px = self.feed.canvas_px();
        self.arrangement = arrange(layout, &sources, canvas_px, &self.arrangement);
        let placed = self.arrangement.placed.iter();
        let shown: BTreeSet<TrackKey> = placed
            .filter_map(|placed| pictures.get(&placed.key).copied())
            .collect();
        let now = Instant::now();
        self.stays
            .retain(|key, until| *until > now && !shown.contains(key));
        let hidden = self.shown.difference(&shown);
        self.stays.extend(hidden.map(|key| (*key, now + STAY)));
        // Who is not to be seen now may be a moment later, without waiting for a key frame, where a
        // small layer makes that cheap; else what is not to be seen is not decoded.
        let is_wanted = |(key, staged): &&(TrackKey, Staged)| {
            let is_sound = staged.info.kind == MediaKind::Audio;
            let is_seen = shown.contains(key) || self.stays.contains_key(key);
            is_sound || is_seen || staged.info.layers > 1
        };
        let tracks = cast.iter().flat_map(|member| &member.tracks);
        let wanted: Vec<&(TrackKey, Staged)> = tracks.filter(is_wanted).collect();
        self.set_inputs(&wanted);
        self.shown = shown;
        let mut canvas = self.canvas(cast, layout, &pictures);
        if let Some(slate) = stage.slate() {
            canvas.cards.push(card::slate(slate, self.feed.canvas_px()));
        }
        canvas.copied = self.whole(&canvas).filter(|_| stage.passthrough());
        canvas.transition = match stage.transition() {
            Transition::Cut => Duration::ZERO,
            Transition::Animate => ANIMATION,
        };
        let specs = self.inputs.values();
        let specs = specs.map(|(id, staged)| (*id, spec(*id, staged)));
        self.feed.compose(specs.collect(), canvas);
    }

    /// Whether something has gone on for long enough.
    pub fn has_stayed(&self, now: Instant) -> bool {
        self.stays.values().any(|until| *until <= now)
    }

    /// The next time, nobody keeps the place of before.
    pub fn arrange_anew(&mut self) {
        self.arrangement = Arrangement::default();
    }

    fn set_inputs(&mut self, wanted: &[&(TrackKey, Staged)]) {
        let is_wanted =
            |key: &TrackKey, now: &Staged| wanted.iter().any(|(k, w)| k == key && w == now);
        self.inputs.retain(|key, (_, now)| is_wanted(key, now));
        for (key, staged) in wanted {
            if self.inputs.contains_key(key) {
                continue;
            }
            let input = InputId(self.next_input);
            self.next_input += 1;
            self.inputs.insert(*key, (input, staged.clone()));
        }
    }

    /// What stands where.
    fn canvas(
        &self,
        cast: &[Member],
        layout: &Layout,
        pictures: &BTreeMap<Place, TrackKey>,
    ) -> Canvas {
        let canvas_px = self.feed.canvas_px();
        let mut canvas = Canvas {
            background: layout.background,
            ..Canvas::default()
        };
        let backdrop = layout.backdrop.clone().map(Card::Backdrop);
        let backdrop = backdrop.map(|backdrop| card::whole(backdrop, canvas_px));
        canvas.cards.extend(backdrop);
        let is_alone = self.arrangement.placed.len() < 2;
        for placed in &self.arrangement.placed {
            let (participant, is_screen) = placed.key;
            let mut members = cast.iter();
            let Some(member) = members.find(|member| member.participant == participant) else {
                continue;
            };
            match pictures.get(&placed.key).and_then(|key| self.input(*key)) {
                Some(input) => canvas.tiles.push((input, placed.tile)),
                None => {
                    let initials = Card::Initials(card::initials(&member.name));
                    canvas.cards.push((initials, placed.tile));
                }
            }
            // Of one alone everybody knows the name.
            if layout.names && !is_alone && !is_screen {
                let name = card::name(&member.name, &placed.tile, canvas_px);
                canvas.cards.extend(name);
            }
        }
        canvas
    }

    /// The H.264 picture that is all there is to be seen.
    fn whole(&self, canvas: &Canvas) -> Option<InputId> {
        let input = canvas.whole(self.feed.canvas_px())?;
        let mut inputs = self.inputs.values();
        let (_, staged) = inputs.find(|(id, _)| *id == input)?;
        (staged.info.codec == Codec::H264).then_some(input)
    }

    /// The height at which a track's picture is shown, in pixels of the canvas; 0 when it is not.
    pub fn shown_px(&self, key: TrackKey) -> u32 {
        let Some((_, staged)) = self.inputs.get(&key) else {
            return 0;
        };
        let place = (staged.participant, staged.info.is_screen);
        let mut placed = self.arrangement.placed.iter();
        let placed = placed.find(|placed| placed.key == place);
        placed.map_or(0, |placed| placed.tile.height_px)
    }

    /// The program's name for a track.
    pub fn input(&self, key: TrackKey) -> Option<InputId> {
        self.inputs.get(&key).map(|(input, _)| *input)
    }

    /// The track behind an input.
    pub fn track(&self, input: InputId) -> Option<TrackKey> {
        self.inputs
            .iter()
            .find(|(_, (id, _))| *id == input)
            .map(|(key, _)| *key)
    }
}

fn spec(id: InputId, staged: &Staged) -> InputSpec {
    InputSpec {
        id,
        group: staged.session.0,
        codec: staged.info.codec,
        payload_type: staged.info.payload_type,
        clock_rate: staged.info.clock_rate,
        fmtp: staged.info.fmtp.clone(),
        color_space: staged.info.color_space,
    }
}

/// The pictures that someone sends.
fn pictures(member: &Member) -> impl Iterator<Item = (Place, TrackKey)> {
    let videos = member.tracks.iter();
    let videos = videos.filter(|(_, staged)| staged.info.kind == MediaKind::Video);
    videos.map(|(key, staged)| ((member.participant, staged.info.is_screen), *key))
}
