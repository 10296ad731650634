// The page: a picture, a model or two, and what they say.

import { ask, fetchPicture, models, Refused } from "./api.js";
import * as show from "./show.js";

const at = (id) => document.getElementById(id);
const TASKS = {
  search: { can: ["search"], address: "/v1/search", render: (answer) => show.pictures(answer, searchBy) },
  classify: { can: ["labels", "classes"], address: "/v1/classify", render: show.classes, picture: true },
  caption: { can: ["caption"], address: "/v1/caption", render: show.captions, picture: true },
  answer: { can: ["answer"], address: "/v1/answer", render: show.answers, picture: true },
  explain: { can: ["explain"], address: "/v1/explain", render: show.heat, picture: true },
};
const CANNOT = {
  search: "has no index to search; mmpretrain search index makes one",
  classify: "has learned neither classes nor a space that pictures and words share",
  caption: "has not learned to write captions",
  answer: "has not learned to answer questions",
  explain: "cannot say where it looks",
};
const TINY = 128;
let served = [];
let picture = null;
let task = "search";
let turn = 0;

// -- the picture

function setPicture(file) {
  if (picture) URL.revokeObjectURL(at("preview").src);
  picture = file;
  at("preview").hidden = at("clear").hidden = !file;
  at("hint").hidden = Boolean(file);
  if (file) at("preview").src = URL.createObjectURL(file);
  else at("file").value = "";
  refresh();
}

at("preview").addEventListener("load", () => {
  const { naturalWidth, naturalHeight } = at("preview");
  at("preview").classList.toggle("tiny", Math.max(naturalWidth, naturalHeight) <= TINY);
});
at("file").addEventListener("change", () => at("file").files[0] && setPicture(at("file").files[0]));
at("clear").addEventListener("click", () => setPicture(null));
for (const name of ["dragover", "dragleave", "drop"]) {
  at("drop").addEventListener(name, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", name === "dragover");
    const file = event.dataTransfer?.files[0];
    if (name === "drop" && file) setPicture(file);
  });
}
document.addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])].find((each) => each.type.startsWith("image/"));
  if (file) setPicture(file);
});

// -- the models

const named = (id) => served.find((each) => each.id === id);
const chosen = () => [...new Set([at("first").value, at("second").value])].map(named).filter(Boolean);
const able = (model, name) => TASKS[name].can.some((ability) => model.can.includes(ability));

/** Why a model does not answer, and which do. */
function cannot(model, name) {
  const others = served.filter((each) => able(each, name)).map((each) => each.id);
  return `${model.id} ${CANNOT[name]}. ${others.length ? `Choose ${others.join(" or ")}.` : "No model that is served here can."}`;
}

function fill(select, names, first) {
  const before = select.value;
  const options = names.map((name) => new Option(name, name));
  select.replaceChildren(...(first === undefined ? [] : [new Option(first, "")]), ...options);
  if (names.includes(before)) select.value = before;
}

function tell(model) {
  const size = model.parameters ? `, ${(model.parameters / 1e6).toFixed(2)} M parameters` : "";
  return `${model.id}: ${model.learned.join(", ") || model.kind}${size}${model.step ? `, step ${model.step}` : ""}`;
}

/** Fields that depend on the models. */
function refresh() {
  const models = chosen();
  at("facts").textContent = models.map(tell).join("  ·  ");
  const each = (list) => [...new Set(models.flatMap(list))];
  fill(at("search").elements.index, each((model) => model.indexes.map((index) => index.name)));
  const heads = each((model) => model.heads.filter((head) => head.kind === "classification").map((head) => head.name));
  fill(at("classify").elements.head, heads, "my labels");
  if (!models.some((model) => model.can.includes("labels")) && heads.length) at("classify").elements.head.value = heads[0];
  fill(at("caption").elements.how, each((model) => model.ways));
  const answering = each((model) => model.heads.filter((head) => head.kind !== "classification").map((head) => head.name));
  showHeads(answering);
  for (const name of Object.keys(TASKS)) {
    const can = models.some((model) => able(model, name));
    for (const button of at(name).querySelectorAll("button")) button.disabled = !can || (TASKS[name].picture && !picture);
  }
  at("alike").disabled ||= !picture;
  sliders();
}

function showHeads(names) {
  if (names.length < 2) return at("heads").replaceChildren();
  const select = show.make("select", { name: "heads" });
  fill(select, names, "every head");
  return at("heads").replaceChildren(show.make("label", {}, "Answered by", select));
}

function sliders() {
  const how = at("caption").elements.how.value;
  for (const label of document.querySelectorAll(".slider")) {
    label.hidden = Boolean(label.dataset.how) && label.dataset.how !== how;
    label.querySelector("output").textContent = label.querySelector("input").value;
  }
}
document.addEventListener("input", sliders);
for (const id of ["first", "second"]) at(id).addEventListener("change", () => { refresh(); open(task); });

// -- tabs

function open(name) {
  task = name;
  for (const each of Object.keys(TASKS)) {
    at(each).hidden = each !== name;
    at(`tab-${each}`).setAttribute("aria-selected", String(each === name));
    at(`tab-${each}`).tabIndex = each === name ? 0 : -1;
  }
  turn += 1;
  const models = chosen();
  const unable = models.filter((model) => !able(model, name));
  const told = unable.map((model) => show.note(cannot(model, name)));
  at(name).hidden = unable.length === models.length; // no form that nobody can answer
  if (unable.length < models.length && TASKS[name].picture && !picture) told.push(show.note("Choose a picture first."));
  at("results").replaceChildren(...told);
}

const tabs = Object.keys(TASKS).map((name) => at(`tab-${name}`));
tabs.forEach((tab, place) => {
  tab.addEventListener("click", () => open(Object.keys(TASKS)[place]));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(place + step + tabs.length) % tabs.length];
    next.focus();
    next.click();
  });
});

// -- questions

function fieldsOf(form, model) {
  const given = Object.fromEntries(
    [...new FormData(form)].filter(([name]) => !form.elements[name].closest?.("[hidden].slider")),
  );
  if (form.id === "classify") {
    const { labels, templates, head } = given;
    const own = { labels: labels.split(/[,\n]/).map((each) => each.trim()).filter(Boolean), templates };
    const heads = model.heads.map((each) => each.name);
    return heads.includes(head) ? { head } : own;
  }
  if (form.id === "answer" && !model.heads.some((head) => head.name === given.heads)) delete given.heads;
  if (form.id === "search" && !model.indexes.some((index) => index.name === given.index)) delete given.index;
  return given;
}

/** Ask every chosen model, each in a column of its own. */
async function run(name, extra = {}, withPicture = TASKS[name].picture) {
  const { address, render } = TASKS[name];
  const mine = (turn += 1);
  const columns = chosen().map((model) => {
    const body = show.make("div", {}, show.busy());
    const detail = show.make("span");
    const column = show.make("article", {}, show.make("h3", {}, model.id, detail), body);
    return { model, body, detail, column };
  });
  at("results").replaceChildren(...columns.map((each) => each.column));
  await Promise.all(columns.map(async ({ model, body, detail }) => {
    if (!able(model, name)) return body.replaceChildren(show.note(cannot(model, name)));
    try {
      const fields = { ...fieldsOf(at(name), model), ...extra, model: model.id };
      const answer = await ask(address, fields, withPicture ? picture : null);
      if (mine !== turn) return undefined;
      detail.textContent = answer.count ? `${answer.count.toLocaleString("en")} pictures` : "";
      return body.replaceChildren(...render(answer));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      return mine === turn ? body.replaceChildren(show.wrong(error.message)) : undefined;
    }
  }));
}

async function searchBy(address) {
  try {
    setPicture(await fetchPicture(address));
    await run("search", { text: "" }, true);
  } catch (error) {
    at("results").prepend(show.wrong(error.message));
  }
}

for (const name of Object.keys(TASKS)) {
  at(name).addEventListener("submit", (event) => {
    event.preventDefault();
    run(name);
  });
}
at("alike").addEventListener("click", () => run("search", { text: "" }, true));

// -- start

try {
  const found = await models();
  served = found.data;
  const names = served.map((each) => each.id);
  fill(at("first"), names);
  fill(at("second"), names, "nobody");
  at("beside").hidden = names.length < 2;
  const first = Object.keys(TASKS).find((name) => served.some((model) => able(model, name)));
  refresh();
  open(first ?? "search");
} catch (error) {
  at("trouble").textContent = error.message;
  at("trouble").hidden = false;
}
