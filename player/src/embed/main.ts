// `/embed/{room}`: nothing but the player, for a frame in somebody's page.

import { element, subject } from "../ui/dom";
import { openTheatre } from "../watch/theatre";

const room = subject();
element("room").textContent = room;
document.title = room;
openTheatre(element("frame"), room, () => {});
