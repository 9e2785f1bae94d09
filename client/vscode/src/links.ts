/** The virtual documents' addresses: perforch:/SIDE/SUGGESTION/NAME, where NAME tells the editor the language. */

export const SCHEME = "perforch";

export type Side = "before" | "after" | "evidence";

const SIDES: readonly string[] = ["before", "after", "evidence"] satisfies Side[];

/** The path of a virtual document. `file` may be any path; its last part is kept. */
export function linkPath(side: Side, suggestion: string, file: string): string {
  const name = file.split(/[\\/]/).pop() || "file";
  return `/${side}/${encodeURIComponent(suggestion)}/${name}`;
}

/** What `linkPath` was made of, or undefined for another path. */
export function parseLink(path: string): { readonly side: Side; readonly suggestion: string } | undefined {
  const [empty, side, suggestion, name, ...more] = path.split("/");
  if (empty !== "" || !side || !SIDES.includes(side) || !suggestion || !name || more.length > 0) return undefined;
  return { side: side as Side, suggestion: decodeURIComponent(suggestion) };
}
