// `/api`: the control API, as this server describes it itself.

import { element } from "../ui/dom";
import { type Entry, type Field, type Group, type OpenApi, describe } from "./describe";

void show();

async function show(): Promise<void> {
  try {
    const answer = await fetch("/api/openapi.json");
    const api = (await answer.json()) as OpenApi;
    element("intro").append(...paragraphs(api.info.description ?? ""));
    const groups = describe(api, location.origin);
    element("contents").append(...groups.map(contents));
    element("groups").append(...groups.map(group));
  } catch (error) {
    console.error(error);
    const trouble = element("trouble");
    trouble.textContent = "The description cannot be read right now. Load the page again in a moment.";
    trouble.hidden = false;
    return;
  }
  // What the address points at is only here now.
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, string> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Text with `code` in it. */
function prose(text: string): (Node | string)[] {
  return text.split("`").map((part, index) => (index % 2 ? make("code", {}, part) : part));
}

function paragraphs(text: string): HTMLElement[] {
  return text.split(/\n\s*\n/).filter(Boolean).map((one) => make("p", {}, ...prose(one)));
}

function contents(group: Group): HTMLElement {
  // Up to where a title begins to explain itself.
  const short = (title: string) => title.split(/[;:]/)[0]!.replaceAll("`", "");
  const links = group.entries.map((entry) => make("li", {}, make("a", { href: `#${entry.id}` }, short(entry.title))));
  return make("section", {}, make("h2", {}, group.name), make("ul", {}, ...links));
}

function group(group: Group): HTMLElement {
  const title = group.name.charAt(0).toUpperCase() + group.name.slice(1);
  return make(
    "section", { "aria-labelledby": `group-${group.name}` },
    make("h2", { id: `group-${group.name}` }, title),
    make("p", { class: "soft" }, ...prose(group.description)),
    ...group.entries.map(operation),
  );
}

function operation(entry: Entry): HTMLElement {
  const parts: HTMLElement[] = [
    make("p", { class: "route" }, make("span", { class: "method", "data-method": entry.method }, entry.method), make("code", {}, entry.path)),
    make("h3", {}, ...prose(entry.title)),
    ...paragraphs(entry.description),
  ];
  if (entry.isPublic) parts.push(make("p", { class: "soft" }, "Needs no token, but for what is private."));
  if (entry.parameters.length) parts.push(make("h4", {}, "Parameters"), fields(entry.parameters));
  if (entry.body.length) parts.push(make("h4", {}, "Body"), fields(entry.body));
  parts.push(make("h4", {}, "Try it"), make("pre", { tabindex: "0" }, make("code", {}, entry.curl)));
  if (entry.answer.length) parts.push(make("details", {}, make("summary", {}, "What is answered"), fields(entry.answer, true)));
  const refusals = entry.responses.filter((one) => one.description || one.status.startsWith("2"));
  const list = make("dl", { class: "fields" });
  for (const one of refusals) list.append(make("dt", {}, one.status), make("dd", {}, ...prose(one.description || "As asked")));
  parts.push(make("details", {}, make("summary", {}, "Statuses"), list));
  return make("article", { class: "operation", id: entry.id }, ...parts);
}

function fields(all: Field[], isAnswer = false): HTMLElement {
  const list = make("dl", { class: "fields" });
  for (const field of all) {
    const facts = [field.type, ...(field.isRequired && !isAnswer ? ["required"] : []), ...field.limits];
    const text = field.description ? [...prose(`${field.description} `)] : [];
    list.append(make("dt", {}, field.name), make("dd", {}, ...text, ...facts.map((fact) => make("span", {}, fact))));
  }
  return list;
}
