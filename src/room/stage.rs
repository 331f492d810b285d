//! How the program is directed: the layout, and who is shown where.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::id::ParticipantId;

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

/// How the program gets from one picture to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transition {
    Cut,
    /// Pictures move to their places.
    #[default]
    Animate,
}

impl Stage {
    pub(super) fn new(passthrough: bool) -> Self {
        Self {
            layout: FIRST_LAYOUT.to_owned(),
            pinned: None,
            last_speaker: None,
            off: BTreeSet::new(),
            transition: Transition::default(),
            passthrough,
            slate: None,
        }
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

    pub(super) fn set_slate(&mut self, slate: Option<String>) {
        self.slate = slate;
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

    pub(super) fn set_layout(&mut self, layout: String) {
        self.layout = layout;
    }

    pub(super) fn pin(&mut self, id: Option<ParticipantId>) {
        self.pinned = id;
    }

    pub(super) fn put(&mut self, id: ParticipantId, on: bool) {
        match on {
            true => self.off.remove(&id),
            false => self.off.insert(id),
        };
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
