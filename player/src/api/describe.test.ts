import { expect, test } from "vitest";
import { type OpenApi, describe, typeOf } from "./describe";

const api: OpenApi = {
  info: {},
  tags: [{ name: "rooms", description: "Who is where" }, { name: "unused" }],
  paths: {
    "/api/v1/rooms/{room}": {
      put: {
        tags: ["rooms"],
        summary: "Makes a room",
        parameters: [{ name: "room", in: "path", required: true, schema: { $ref: "#/components/schemas/RoomId" } }],
        requestBody: { content: { "application/json": { schema: { $ref: "#/components/schemas/Settings" } } } },
        responses: { "401": { description: "No token" }, "200": { description: "" } },
      },
      get: { tags: ["rooms"], security: [{}, { token: [] }] },
    },
    "/api/v1/webhooks/{id}": { delete: { tags: ["webhooks"], parameters: [{ name: "id", in: "path", schema: { type: "string", format: "uuid" } }] } },
  },
  components: {
    schemas: {
      RoomId: { type: "string", example: "demo", maxLength: 64 },
      Settings: {
        required: ["layout"],
        properties: {
          layout: { type: "string", enum: ["grid", "solo", null], default: "grid" },
          limit: { type: ["integer", "null"], minimum: 1, maximum: 9, description: "At most" },
          begins: { oneOf: [{ type: "null" }, { $ref: "#/components/schemas/Begins" }] },
        },
        example: { layout: "it's" },
      },
      Begins: { type: "string", enum: ["auto", "manual"], description: "When" },
    },
  },
};

test("operations are told by what they are about, in order", () => {
  const groups = describe(api, "http://localhost:8080");
  expect(groups.map((group) => [group.name, group.entries.map((one) => `${one.method} ${one.title}`)])).toEqual([
    ["rooms", ["GET /api/v1/rooms/{room}", "PUT Makes a room"]],
    ["webhooks", ["DELETE /api/v1/webhooks/{id}"]],
  ]);
  const put = groups[0]!.entries[1]!;
  expect(put.responses.map((one) => one.status)).toEqual(["200", "401"]);
  expect([groups[0]!.entries[0]!.isPublic, put.isPublic]).toEqual([true, false]);
  expect(put.body).toEqual([
    { name: "layout", type: "string", limits: ["grid, solo", 'default "grid"'], isRequired: true, description: "" },
    { name: "limit", type: "integer, or null", limits: ["1 to 9"], isRequired: false, description: "At most" },
    { name: "begins", type: "null, or string", limits: ["auto, manual"], isRequired: false, description: "When" },
  ]);
});

test("what is pasted into a shell survives it", () => {
  const [rooms, webhooks] = describe(api, "http://localhost:8080");
  expect(rooms!.entries[1]!.curl).toBe(
    `curl -X PUT "http://localhost:8080/api/v1/rooms/demo" \\\n  -H "Authorization: Bearer $TOKEN" \\\n` +
    `  -H "Content-Type: application/json" \\\n  -d '{"layout":"it'\\''s"}'`,
  );
  expect(webhooks!.entries[0]!.curl).toContain("/api/v1/webhooks/$ID");
  expect(rooms!.entries[0]!.curl).not.toContain("TOKEN");
});

test("types read as words, and what refers to itself ends", () => {
  expect(typeOf(api, { type: "array", items: { $ref: "#/components/schemas/RoomId" } })).toBe("list of string");
  const endless: OpenApi = { ...api, components: { schemas: { Loop: { $ref: "#/components/schemas/Loop" } } } };
  expect(typeOf(endless, { $ref: "#/components/schemas/Loop" })).toBe("any");
});
