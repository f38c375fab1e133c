/** The viewer in a notebook. Unlike the page of its own, it can download through the kernel. */

import { CommDownloads } from "../client/commdownload.ts";
import widget, { type Widget } from "./widget.ts";

export default (css = "", store = ""): Widget => widget(css, store, (send) => new CommDownloads(send));
