#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Does docs/pod.schema.json say the same as podvm? tests/cli/schema.py PODVM

Asked about every pod file of tests/pods: its cases (whose first lines say how they are written) and examples. The schema
is held against podvm twice. Without its "additionalProperties": false it must refuse what podvm refuses, and nothing else.
As it is it must besides refuse what podvm warns of as an unknown key.

What podvm takes without regard to case, keys, is lower-cased before; a null, to podvm as good as no key, is left out.
What a schema can not say is in REASONS; a case says which with a line "S: NAME", and then must be told apart."""

import copy
import glob
import json
import os
import re
import subprocess
import sys
import tempfile

import jsonschema

REASONS = {
    "taken": "a member's value must differ from those of the list's other elements: uniqueItems compares whole elements",
    "reference": "a text must be the name of an element elsewhere in the file",
    "word-case": "words are matched without regard to case; an enum that lists every spelling would help nobody",
    "number-as-text": "a text of digits within a range",
    "range": "what two ends of a range, or two ranges, are to each other",
    "clash": "two ports or sockets that would listen at the same place, two lists that say the opposite",
    "network": "bits of a network behind its prefix are 0",
    "bytes": "lengths are bytes to podvm, characters to a schema",
    "total": "all ports together, after ranges are spread out",
}
EXAMPLES = {}  # what of REASONS holds for an example

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
FREE = {"labels", "sysctl"}  # objects whose keys are the user's own


def cases(path):
    """(text, reason or None) of each case of the table."""
    template, found = "...", []
    with open(path, encoding="utf-8") as table:
        for line in table.read().split("\n"):
            if line.startswith("\tS: "):
                found[-1] = (found[-1][0], line[4:])
            elif line.startswith("@ "):
                template = line[2:]
            elif line and not line.startswith(("# ", "\t")):
                found.append((template.replace("...", line, 1), None))
    return found


def examples():
    for path in sorted(glob.glob(os.path.join(TOP, "tests/pods/*.json"))) + [os.path.join(TOP, "pod.json.example")]:
        with open(path, encoding="utf-8") as file:
            yield file.read(), EXAMPLES.get(os.path.basename(path))


def podvm_says(podvm, texts):
    """(refused, knows all keys) of each text."""
    with tempfile.TemporaryDirectory() as folder:
        names = [str(i) for i in range(len(texts))]
        for name, text in zip(names, texts):
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(text)
        lines = subprocess.run([podvm, "validate"] + names, cwd=folder, stderr=subprocess.PIPE, text=True,
                               check=False).stderr.splitlines()
    refused, unknown = set(), set()
    for line in lines:
        match = re.match(r"podvm: (warning: )?(\d+):", line)
        if not match:
            sys.exit(f"schema.py: what is this line of podvm? {line}")
        if not match[1]:
            refused.add(match[2])
        elif "unknown key" in line:
            unknown.add(match[2])
    return [(name in refused, name not in unknown) for name in names]


def folded(value):
    if isinstance(value, dict):
        return {key.lower(): member if key.lower() in FREE else folded(member)
                for key, member in value.items() if member is not None}
    if isinstance(value, list):
        return [folded(element) for element in value]
    return value


def schema_folded(schema, strict):
    """The schema for what folded() makes."""
    if isinstance(schema, list):
        return [schema_folded(element, strict) for element in schema]
    if not isinstance(schema, dict):
        return schema
    made = {}
    for key, member in schema.items():
        if key == "properties":
            made[key] = {name.lower(): schema_folded(below, strict) for name, below in member.items()}
        elif key == "required":
            made[key] = [name.lower() for name in member]
        elif key != "additionalProperties" or strict:
            made[key] = schema_folded(member, strict)
    return made


def validator(schema, strict):
    return jsonschema.Draft202012Validator(schema_folded(copy.deepcopy(schema), strict),
                                           format_checker=jsonschema.FormatChecker(["ipv4", "ipv6"]))


def no_constant(name):
    raise ValueError(name)


def compare(text, reason, opinion, lenient, strict):
    """What is wrong, or None."""
    refused, keys_known = opinion
    try:
        pod = folded(json.loads(text, parse_constant=no_constant))
    except ValueError:
        return None if refused else "no JSON, but podvm takes it"
    differs = lenient.is_valid(pod) == refused
    if reason:
        return None if differs else f"podvm and the schema agree, so that {reason} is no reason"
    if differs:
        why = "; ".join(error.json_path + ": " + error.message for error in lenient.iter_errors(pod))
        return f"podvm {'refuses' if refused else 'takes'} it, the schema {why or 'takes it'}"
    if not refused and strict.is_valid(pod) != keys_known:
        return f"podvm {'knows all keys' if keys_known else 'warns of an unknown key'}, the schema does not"
    return None


def main():
    with open(os.path.join(TOP, "docs/pod.schema.json"), encoding="utf-8") as file:
        schema = json.load(file)
    jsonschema.Draft202012Validator.check_schema(schema)
    lenient, strict = validator(schema, False), validator(schema, True)
    files = cases(os.path.join(TOP, "tests/pods/cases")) + list(examples())
    wrong = 0
    for (text, reason), opinion in zip(files, podvm_says(os.path.abspath(sys.argv[1]), [text for text, _ in files])):
        what = compare(text, reason, opinion, lenient, strict)
        if what:
            wrong += 1
            print(f"{text}\n\t{what}")
    used = {reason for _, reason in files if reason}
    for name in used ^ set(REASONS):
        wrong += 1
        print(f"{name}: a reason that is {'used, but not explained' if name in used else 'never used'}")
    print(f"{len(files)} pod files, {wrong} wrong")
    return 1 if wrong or len(files) < 500 else 0


if __name__ == "__main__":
    sys.exit(main())
