// The simulators as the clients written for node see them.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

const sim = JSON.parse(readFileSync('sim.json', 'utf8'));

export const TITLE = 'Ada Lovelace';
export const TEXT = 'See you at the engine? 🙂 好的';

/** Where a vendor's simulator listens. */
export const endpoint = (vendor) => new URL(sim.endpoints[vendor].endpoint);

/** A credential that `offpush sim --out` wrote, by the name of its file. */
export const credential = (name) =>
    JSON.parse(readFileSync(`out/${name}.json`, 'utf8')).credential;

/** Takes the app off a phone. */
export async function uninstall(vendor, token) {
    const answer = await fetch(`${sim.control}/phones`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ vendor, token, life: 'dead' }),
    });
    assert.equal(answer.status, 204);
}

/** What a phone showed, which must be one notification with the usual words. */
export async function shown(vendor, token) {
    const query = new URLSearchParams({ vendor, token });
    const list = await (await fetch(`${sim.control}/phones?${query}`)).json();
    assert.equal(list.length, 1, `${vendor}: ${list.length} notifications on the phone`);
    assert.equal(list[0].title, TITLE);
    assert.equal(list[0].body, TEXT);
    return list[0];
}
