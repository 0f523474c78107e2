"use strict";
const box = document.getElementById("search");
const none = document.getElementById("none");
const routes = [...document.querySelectorAll("article")];
function filter() {
  const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const route of routes) {
    const text = route.dataset.text;
    route.hidden = !words.every((word) => text.includes(word));
    found += route.hidden ? 0 : 1;
  }
  for (const section of document.querySelectorAll("section.tag")) {
    section.hidden = words.length > 0 && !section.querySelector("article:not([hidden])");
    if (words.length > 0) section.querySelector("details").open = true;
  }
  none.hidden = found > 0;
}
function open() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  if (target) target.scrollIntoView();
}
box.parentElement.hidden = false;
box.addEventListener("input", filter);
addEventListener("hashchange", open);
filter();
open();
