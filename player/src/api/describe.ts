// What `/api/openapi.json` says, as a page shows it. Pure.

export interface Schema {
  $ref?: string;
  type?: string | string[];
  format?: string;
  enum?: unknown[];
  items?: Schema;
  properties?: Record<string, Schema>;
  required?: string[];
  allOf?: Schema[];
  oneOf?: Schema[];
  description?: string;
  default?: unknown;
  example?: unknown;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
}

interface Content {
  content?: Record<string, { schema?: Schema }>;
}

interface Described extends Content {
  description?: string;
}

export interface Operation {
  tags?: string[];
  summary?: string;
  description?: string;
  parameters?: { name: string; in: string; required?: boolean; description?: string; schema?: Schema }[];
  requestBody?: Content;
  responses?: Record<string, Described>;
  security?: Record<string, unknown>[];
}

export interface OpenApi {
  info: { description?: string };
  tags?: { name: string; description?: string }[];
  paths: Record<string, Record<string, Operation>>;
  components?: { schemas?: Record<string, Schema> };
}

export interface Field {
  name: string;
  /** As "string, or null". */
  type: string;
  /** What it may be, besides its type. */
  limits: string[];
  isRequired: boolean;
  description: string;
}

export interface Entry {
  id: string;
  method: string;
  path: string;
  title: string;
  description: string;
  /** Whether anybody may, without a token. */
  isPublic: boolean;
  parameters: Field[];
  body: Field[];
  /** Of the answer when all is well. */
  answer: Field[];
  responses: { status: string; description: string }[];
  curl: string;
}

export interface Group {
  name: string;
  description: string;
  entries: Entry[];
}

const METHODS = ["get", "post", "put", "patch", "delete"];

/** The operations by what they are about, in the description's order. */
export function describe(api: OpenApi, base: string): Group[] {
  const groups: Group[] = (api.tags ?? []).map(({ name, description = "" }) => ({ name, description, entries: [] }));
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of METHODS) {
      const operation = item[method];
      if (!operation) continue;
      const name = operation.tags?.[0] ?? "";
      let group = groups.find((one) => one.name === name);
      if (!group) groups.push((group = { name, description: "", entries: [] }));
      group.entries.push(entry(api, base, method.toUpperCase(), path, operation));
    }
  }
  return groups.filter((group) => group.entries.length > 0);
}

function entry(api: OpenApi, base: string, method: string, path: string, operation: Operation): Entry {
  const bodySchema = json(operation.requestBody);
  const responses = Object.entries(operation.responses ?? {}).sort(([a], [b]) => a.localeCompare(b));
  const good = responses.find(([status]) => status.startsWith("2"));
  return {
    id: `${method}-${path}`.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/-$/, ""),
    method,
    path,
    title: operation.summary ?? path,
    description: operation.description ?? "",
    isPublic: (operation.security ?? [{ token: [] }]).some((way) => Object.keys(way).length === 0),
    parameters: (operation.parameters ?? []).map((one) => ({
      ...field(api, one.name, one.schema ?? {}, one.required ?? false),
      description: one.description ?? "",
    })),
    body: fields(api, bodySchema),
    answer: fields(api, json(good?.[1])),
    responses: responses.map(([status, one]) => ({ status, description: one.description ?? "" })),
    curl: curl(api, base, method, path, operation, bodySchema),
  };
}

function json(message: Content | undefined): Schema | undefined {
  const kinds = Object.values(message?.content ?? {});
  return kinds[0]?.schema;
}

/** The schema itself, whatever refers to it; with all that it is made of, in one. */
export function resolve(api: OpenApi, schema: Schema | undefined, depth = 0): Schema {
  if (!schema || depth > 8) return {};
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop() ?? "";
    return { ...resolve(api, api.components?.schemas?.[name], depth + 1), ...(schema.description ? { description: schema.description } : {}) };
  }
  if (schema.allOf) {
    const parts = schema.allOf.map((part) => resolve(api, part, depth + 1));
    return {
      ...schema,
      properties: Object.assign({}, ...parts.map((part) => part.properties ?? {})),
      required: parts.flatMap((part) => part.required ?? []),
    };
  }
  return schema;
}

function fields(api: OpenApi, schema: Schema | undefined): Field[] {
  const { properties = {}, required = [] } = resolve(api, schema);
  return Object.entries(properties).map(([name, one]) => field(api, name, one, required.includes(name)));
}

function field(api: OpenApi, name: string, schema: Schema, isRequired: boolean): Field {
  const others = (schema.oneOf ?? []).filter((one) => one.type !== "null");
  const whole = others.length === 1 ? resolve(api, others[0]) : resolve(api, schema);
  return {
    name,
    type: typeOf(api, schema),
    limits: limits(schema.default === undefined ? whole : { ...whole, default: schema.default }),
    isRequired,
    description: schema.description ?? whole.description ?? "",
  };
}

/** In words. */
export function typeOf(api: OpenApi, schema: Schema): string {
  if (schema.oneOf) {
    const kinds = [...new Set(schema.oneOf.map((one) => (one.type === "null" ? "null" : typeOf(api, one))))];
    return kinds.join(", or ");
  }
  const whole = resolve(api, schema);
  if (whole.oneOf) return typeOf(api, whole);
  const types = [whole.type ?? []].flat();
  const kinds = types.map((type) => (type === "array" ? `list of ${typeOf(api, whole.items ?? {})}` : (whole.format === "date-time" || whole.format === "uuid") && type === "string" ? whole.format : type));
  return kinds.join(", or ") || "any";
}

function limits(schema: Schema): string[] {
  const { minimum, maximum, maxLength } = schema;
  return [
    schema.enum ? schema.enum.filter((value) => value !== null).map(String).join(", ") : "",
    schema.items?.enum ? `of ${schema.items.enum.map(String).join(", ")}` : "",
    minimum !== undefined && maximum !== undefined ? `${minimum} to ${maximum}` : "",
    maxLength !== undefined ? `up to ${maxLength} characters` : "",
    schema.default !== undefined && schema.default !== null ? `default ${JSON.stringify(schema.default)}` : "",
  ].filter(Boolean);
}

/** What somebody can paste into a shell. */
function curl(api: OpenApi, base: string, method: string, path: string, operation: Operation, body: Schema | undefined): string {
  const of = (name: string) => operation.parameters?.find((one) => one.name === name)?.schema ?? {};
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => {
    const example = resolve(api, of(name)).example;
    return typeof example === "string" ? example : `$${name.toUpperCase()}`;
  });
  // Without quotes, a shell takes `?` and `$` for its own; in double quotes it fills in the latter.
  const lines = [`curl ${method === "GET" ? "" : `-X ${method} `}"${base}${filled}"`];
  const isPublic = (operation.security ?? [{ token: [] }]).some((way) => Object.keys(way).length === 0);
  if (!isPublic) lines.push(`-H "Authorization: Bearer $TOKEN"`);
  if (body) {
    const example = JSON.stringify(resolve(api, body).example ?? {});
    lines.push(`-H "Content-Type: application/json"`, `-d '${example.replaceAll("'", "'\\''")}'`);
  }
  return lines.join(" \\\n  ");
}
