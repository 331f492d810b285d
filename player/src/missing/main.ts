// The page for what is not there.

import { drawTheatres } from "../ui/theatre";

drawTheatres();
