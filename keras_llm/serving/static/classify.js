/** A text, and how a classifier labels it. */

import { Asking, Bars } from "./asking.js";
import { html } from "./ui.js";

export function Classify({ models, say }) {
  return html`
    <${Asking}
      name="classify"
      models=${models}
      called="Classifier"
      action="Classify"
      placeholder=${({ labels }) =>
        `Which of ${labels.join(", ") || "its classes"}?`}
      tell=${tell}
      show=${(answer, model) => html`<${Labels} ...${answer} model=${model} />`}
      say=${say}
    />
  `;
}

/** The label, or those of a classifier of texts with several. */
function labelsOf({ label, labels, num_labels: count }) {
  return labels ? labels.slice(0, count) : [label];
}

function tell(answer) {
  const found = labelsOf(answer);
  if (!answer.labels) return `The label: ${found[0]}`;
  return found.length ? `The labels: ${found.join(", ")}` : "No label.";
}

function Labels({ model, ...answer }) {
  // Exports of earlier versions do not say what their scores are of.
  const classes = answer.classes ?? model.labels;
  const rows = shares(answer).map((share, i) => [classes[i] ?? `${i}`, share]);
  return html`
    ${answer.labels && html`<p>${tell(answer)}</p>`}
    <${Bars} label="Labels" rows=${rows} chosen=${labelsOf(answer)} />
  `;
}

/** A classifier without an activation, KerasHub's default, gives logits. */
function shares({ scores, labels }) {
  const total = scores.reduce((a, b) => a + b);
  const areShares = scores.every((score) => score >= 0);
  if (labels || (areShares && Math.abs(total - 1) < 1e-3)) return scores;
  const largest = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - largest));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
}
