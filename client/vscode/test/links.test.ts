import { expect, it } from "vitest";
import { linkPath, parseLink } from "../src/links.js";

it("keeps the file's name, by which the editor knows the language", () => {
  expect(linkPath("after", "s1", "/home/ann/shop.py")).toBe("/after/s1/shop.py");
  expect(linkPath("after", "s1", "C:\\work\\shop.py")).toBe("/after/s1/shop.py");
});

it.each(["before", "after", "evidence"] as const)("is read back (%s), also with a strange id", (side) => {
  expect(parseLink(linkPath(side, "a/b c%20", "shop.py"))).toEqual({ side, suggestion: "a/b c%20" });
});

it.each(["", "/", "/after", "/after/s1", "/after//shop.py", "/other/s1/shop.py", "/after/s1/x/shop.py", "after/s1/shop.py"])(
  "refuses %j",
  (path) => expect(parseLink(path)).toBeUndefined(),
);
