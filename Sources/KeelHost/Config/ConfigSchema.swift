import KeelCore

/// The declared keys, as JSON Schema and as a page.
package enum ConfigSchema {
    /// JSON Schema (2020-12) of a config file.
    package static var json: JSON {
        var schema: JSONObject = [
            "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Keel run config",
        ]
        for (key, value) in object(RunConfig().keys) { schema.append(key, value) }
        return .object(schema)
    }

    /// The page `docs/config.md`: every key with type, default and help.
    package static var markdown: String {
        var page = """
            # The config

            JSON with `//` and `/* */` comments. Paths are relative to the config file. This page is written by
            `keel config schema --markdown`.

            """
        table(RunConfig().keys, "", &page)
        page +=
            "\n## Names of other tools\n\nRead with a note.\n\n| name | read as |\n| --- | --- |\n"
        for (section, names) in ConfigAliases.keys.sorted(by: { $0.key < $1.key }) {
            for (alias, name) in names.sorted(by: { $0.key < $1.key }) {
                page += "| `\(section).\(alias)` | `\(section).\(name)` |\n"
            }
        }
        for (alias, name) in ConfigAliases.parameters.sorted(by: { $0.key < $1.key }) {
            page += "| `params.\(alias)` | `params.\(name)` |\n"
        }
        return page
    }

    static func object(_ keys: [any AnyKey]) -> JSONObject {
        var properties = JSONObject()
        for key in keys {
            var schema = key.schema
            schema["description"] = .string(key.spec.help)
            // The defaults of a section are those of its keys.
            if !key.spec.isRequired, key.sections == nil { schema["default"] = key.json }
            properties.append(key.spec.name, .object(schema))
        }
        let required = keys.filter(isRequired).map { JSON.string($0.spec.name) }
        var result: JSONObject = [
            "type": "object", "properties": .object(properties), "additionalProperties": false,
        ]
        if !required.isEmpty { result["required"] = .array(required) }
        return result
    }

    /// The section that has a key of this name, when exactly one has.
    static func home(of name: String) -> String? {
        let homes = RunConfig().keys.filter {
            $0.sections?.contains { $0.spec.name == name } ?? false
        }
        // Heads and phases repeat names of train, which is what a lone one means.
        if homes.contains(where: { $0.spec.name == "train" }) { return "train" }
        return homes.count == 1 ? homes[0].spec.name : nil
    }

    private static func isRequired(_ key: any AnyKey) -> Bool {
        key.spec.isRequired
            || (key is any SectionKey && key.sections?.contains(where: isRequired) ?? false)
    }

    private static func table(_ keys: [any AnyKey], _ path: String, _ page: inout String) {
        page += "\n## \(path.isEmpty ? "Top level" : "`\(path)`")\n\n"
        page += "| key | type | default | meaning |\n| --- | --- | --- | --- |\n"
        for key in keys {
            let standard =
                key.spec.isRequired ? "required" : key.sections == nil ? "`\(key.json.text())`" : ""
            page += "| `\(key.spec.name)` | \(key.typeName) | \(standard) | \(key.spec.help) |\n"
        }
        for key in keys {
            guard let inner = key.sections else { continue }
            var name = key.spec.name
            if key.schema["type"] == "array" { name += "[]" }
            if key.schema["additionalProperties"]?.object != nil { name += ".NAME" }
            table(inner, path.isEmpty ? name : "\(path).\(name)", &page)
        }
    }
}

/// A key whose value is one section, so that required keys in it are required of the whole.
protocol SectionKey {}

extension Key: SectionKey where Value: ConfigSection {}
