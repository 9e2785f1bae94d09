/** What the server tells of its jobs and suggestions, and what the user should see of it. */

/** The version of the messages that are PerfOrch's own, as this client speaks them. */
export const PROTOCOL = 1;

export interface Job {
  readonly id: string;
  readonly uri: string;
  readonly symbol: string;
  readonly state: "queued" | "running" | "done" | "failed" | "cancelled";
  readonly text: string;
  readonly background: boolean;
  /** What is proven is applied by the server without asking. */
  readonly apply: boolean;
  readonly suggestion: string | null;
}

export interface Suggestion {
  readonly id: string;
  readonly uri: string;
  readonly symbol: string;
  readonly title: string;
  readonly state: "ready" | "applied" | "rejected";
  readonly proven: boolean;
  readonly line: number | null;
}

export type ServerEvent =
  | {
      readonly type: "job";
      readonly job: Job;
      readonly severity?: "error" | "warning" | "info";
      readonly result?: { readonly status: string };
    }
  | { readonly type: "suggestion"; readonly suggestion: Suggestion };

export type Reaction =
  | { readonly show: "nothing" }
  | { readonly show: "message"; readonly severity: "error" | "warning" | "info"; readonly text: string; readonly log: boolean }
  | { readonly show: "preview"; readonly suggestion: string; readonly symbol: string; readonly proven: boolean }
  | { readonly show: "closed"; readonly suggestion: Suggestion };

/**
 * What to do about an event. A finished job that the user asked for is previewed, unless the server applies it
 * itself; one without a suggestion says why; a suggestion that was applied or rejected needs no preview any more.
 */
export function reaction(event: ServerEvent): Reaction {
  if (event.type === "suggestion") {
    return event.suggestion.state === "ready" ? { show: "nothing" } : { show: "closed", suggestion: event.suggestion };
  }
  const { job } = event;
  if (job.background || (job.state !== "done" && job.state !== "failed")) return { show: "nothing" };
  if (job.suggestion !== null) {
    const proven = event.result?.status === "suggested";
    if (job.apply && proven) return { show: "nothing" };
    return { show: "preview", suggestion: job.suggestion, symbol: job.symbol, proven };
  }
  const severity = event.severity ?? "info";
  return { show: "message", severity, text: `PerfOrch: ${job.text}`, log: severity === "error" };
}

/** Jobs that a Cancel is for. */
export function unfinished(jobs: readonly Job[]): Job[] {
  return jobs.filter((job) => job.state === "queued" || job.state === "running");
}

/** Why the server cannot be used with this client, or undefined. `experimental` is from its initialize result. */
export function mismatch(experimental: unknown): string | undefined {
  const protocol = (experimental as { perforch?: { protocol?: unknown } } | undefined)?.perforch?.protocol;
  if (protocol === PROTOCOL) return undefined;
  if (typeof protocol !== "number") {
    return "The program in perforch.server.command is not PerfOrch's server. Correct the setting, or empty it.";
  }
  const older = protocol > PROTOCOL ? "this extension" : "the server (pip install --upgrade perforch)";
  return `The server speaks version ${protocol} of PerfOrch's messages and this extension version ${PROTOCOL}. Update ${older}.`;
}
