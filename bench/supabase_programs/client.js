// What an application does with supabase-js, on two databases: ONE and OTHER have url, anon_key.
// MAILING sends e-mails, whose texts are appended to the file MAILS. Prints which checks hold.
import { readFile } from "node:fs/promises";
import { setTimeout } from "node:timers/promises";
import { createClient } from "@supabase/supabase-js";
import ws from "ws"; // Node.js has WebSocket from version 22 on

const of = (name) => JSON.parse(process.env[name]);
const open = ({ url, anon_key }, flowType = "implicit") =>
  createClient(url, anon_key, {
    auth: { persistSession: false, flowType },
    realtime: { transport: ws },
  });
const checks = {};
const check = (name, holds, found) => {
  checks[name] = holds ? true : JSON.stringify(found) ?? "nothing";
};
const one = open(of("ONE"));
const other = open(of("OTHER"));
const ann = { email: `ann-${process.pid}@example.com`, password: "correct horse" };

const up = await one.auth.signUp({ ...ann, options: { data: { name: "Ann" } } });
check("sign-up", up.data.session && up.data.user.user_metadata.name === "Ann", up);
const again = await one.auth.signUp(ann);
check("an address that is taken", again.error?.code === "user_already_exists", again);
const wrong = await one.auth.signInWithPassword({ ...ann, password: "wrong horse" });
check("wrong password", wrong.error?.code === "invalid_credentials", wrong);
const weak = await one.auth.signUp({ email: "weak@example.com", password: "1" });
check("weak password", weak.error?.name === "AuthWeakPasswordError", weak);
const signedIn = await one.auth.signInWithPassword(ann);
check("sign-in", signedIn.data.session?.user.email === ann.email, signedIn);
const user = await one.auth.getUser();
check("user", user.data.user?.id === up.data.user?.id, user);
const claims = await one.auth.getClaims();
check("claims", claims.data?.claims.role === "authenticated", claims);
const changed = await one.auth.updateUser({ data: { plan: "pro" } });
check("change", changed.data.user?.user_metadata.plan === "pro", changed);

const written = await one.from("notes").insert({ note: "mine" }).select();
check("insert", written.data?.[0].owner === user.data.user?.id, written);
const counted = await one.from("notes").select("*", { count: "exact" }).like("note", "m%");
check("filter and count", counted.count === 1, counted);
const upserted = await one.from("notes").upsert({ id: written.data?.[0].id, note: "still mine" });
check("upsert", upserted.status === 200 || upserted.status === 201, upserted);
const called = await one.rpc("whoami");
check("rpc", called.data === user.data.user?.id, called);
const csv = await one.from("notes").select("note").csv();
check("csv", csv.data?.startsWith("note\n"), csv);
const embedded = await one.from("notes").select("note, tags(tag)");
check("embed", Array.isArray(embedded.data?.[0].tags), embedded);

const before = (await one.auth.getSession()).data.session;
const refreshed = await one.auth.refreshSession();
check("refresh", refreshed.data.session?.refresh_token !== before.refresh_token, refreshed);
const elsewhere = await other.auth.getUser(refreshed.data.session?.access_token);
check("another database refuses its token", elsewhere.error?.status === 403, elsewhere);
const hidden = await other.from("notes").select();
check("without a user nothing is seen", hidden.error !== null || hidden.data.length === 0, hidden);
const recovered = await one.auth.resetPasswordForEmail(ann.email);
check("recovery without a mail server", recovered.error?.code === "email_provider_disabled", recovered);
const moved = await one.auth.updateUser({ email: `new-${ann.email}` });
check("new address", moved.data.user?.email === `new-${ann.email}`, moved);

const mailing = open(of("MAILING"), "pkce");
const signedUp = await mailing.auth.signUp(ann);
let link;
for (let tries = 0; !link && tries < 100; tries++) {
  await setTimeout(100);
  link = (await readFile(process.env.MAILS, "utf8")).match(/http\S+verify\S+/)?.[0];
}
const led = await fetch(link, { redirect: "manual" });
const code = new URL(led.headers.get("location")).searchParams.get("code");
const exchanged = await mailing.auth.exchangeCodeForSession(code);
check("confirmation by PKCE", exchanged.data.session?.user.email === ann.email, [signedUp, exchanged]);

const out = await one.auth.signOut();
check("sign-out", out.error === null, out);
const gone = await one.auth.refreshSession({ refresh_token: refreshed.data.session?.refresh_token });
check("the session has ended", gone.error?.code === "refresh_token_not_found", gone);
console.log(JSON.stringify(checks));
