//! How the program is directed: the layout, and who is shown where.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::id::ParticipantId;
use super::state::Settings;

/// Layouts by name; `grid` is always one of them.
pub const FIRST_LAYOUT: &str = "grid";

/// As many as are well read in large letters.
pub const MAX_SLATE_CHARS: usize = 120;

/// What the producer decided, and who spoke last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    layout: String,
    /// Large in every layout that has a large place, whoever speaks.
    pinned: Option<ParticipantId>,
    /// Speaks, or did before all fell silent.
    last_speaker: Option<ParticipantId>,
    /// In the room, and not in the program.
    off: BTreeSet<ParticipantId>,
    transition: Transition,
    passthrough: bool,
    slate: Option<String>,
}

/// What a producer decides of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Direction {
    /// Arranges it by this layout.
    Layout(String),
    /// Shows these words instead of it, in silence; `None`: the program.
    Slate(Option<String>),
    /// Shows someone large, whoever speaks; `None`: who speaks.
    Pin(Option<ParticipantId>),
    /// Takes someone into it, or out of it.
    Put {
        participant: ParticipantId,
        on: bool,
    },
}

/// How the program gets from one picture to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transition {
    Cut,
    /// Pictures move to their places.
    #[default]
    Animate,
}

impl Stage {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            layout: settings.layout.clone(),
            pinned: None,
            last_speaker: None,
            off: BTreeSet::new(),
            transition: settings.transition,
            passthrough: settings.passthrough,
            slate: None,
        }
    }

    pub(super) fn begin_with(&mut self, settings: &Settings) {
        self.layout = settings.layout.clone();
        self.transition = settings.transition;
        self.passthrough = settings.passthrough;
    }

    pub fn layout(&self) -> &str {
        &self.layout
    }

    pub fn transition(&self) -> Transition {
        self.transition
    }

    pub(super) fn set_transition(&mut self, transition: Transition) {
        self.transition = transition;
    }

    /// A picture that is alone on stage may be shown as its publisher encoded it.
    pub fn passthrough(&self) -> bool {
        self.passthrough
    }

    pub(super) fn set_passthrough(&mut self, passthrough: bool) {
        self.passthrough = passthrough;
    }

    /// What is shown instead of the program.
    pub fn slate(&self) -> Option<&str> {
        self.slate.as_deref()
    }

    pub fn pinned(&self) -> Option<ParticipantId> {
        self.pinned
    }

    /// Who stands in the large place of a layout that has one.
    pub fn featured(&self) -> Option<ParticipantId> {
        self.pinned.or(self.last_speaker)
    }

    pub fn is_on(&self, id: ParticipantId) -> bool {
        !self.off.contains(&id)
    }

    /// False where it is so already.
    pub(super) fn direct(&mut self, direction: &Direction) -> bool {
        let before = self.clone();
        match direction {
            Direction::Layout(name) => self.layout.clone_from(name),
            Direction::Slate(slate) => self.slate.clone_from(slate),
            Direction::Pin(participant) => self.pinned = *participant,
            Direction::Put {
                participant,
                on: true,
            } => drop(self.off.remove(participant)),
            Direction::Put {
                participant,
                on: false,
            } => drop(self.off.insert(*participant)),
        }
        *self != before
    }

    /// As it would be.
    pub(super) fn preview(&self, directions: &[Direction]) -> Self {
        let mut preview = self.clone();
        for direction in directions {
            preview.direct(direction);
        }
        // A preview is always composed.
        preview.passthrough = false;
        preview
    }

    /// Someone speaks now, or nobody: then who spoke last stays large.
    pub(super) fn hear(&mut self, speaker: Option<ParticipantId>) {
        self.last_speaker = speaker.or(self.last_speaker);
    }

    pub(super) fn forget(&mut self, id: ParticipantId) {
        self.off.remove(&id);
        self.pinned = self.pinned.filter(|pinned| *pinned != id);
        self.last_speaker = self.last_speaker.filter(|speaker| *speaker != id);
    }
}
