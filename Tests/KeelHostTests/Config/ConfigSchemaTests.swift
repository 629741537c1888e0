import KeelCore
import Testing

@testable import KeelHost

@Suite struct ConfigSchemaTests {
    @Test func theSchemaHasEveryDeclaredKey() {
        let properties = ConfigSchema.json["properties"]
        #expect(properties?.object?.keys == RunConfig().keys.map(\.spec.name))
        let train = properties?["train"]?["properties"]?.object
        #expect(train?.keys == TrainConfig().keys.map(\.spec.name))
        #expect(train?["learning_rate"]?["minimum"]?.int == 0)
        #expect(train?["learning_rate"]?["default"]?.double == 1e-6)
        #expect(train?["eval_steps"]?["anyOf"]?[0]?["type"] == "integer")
        #expect(
            properties?["sampler"]?["properties"]?["temperature"]?["exclusiveMinimum"]?.int == 0)
        #expect(
            properties?["rewards"]?["items"]?["oneOf"]
                == [["required": ["plugin"]], ["required": ["native"]]])
        #expect(ConfigSchema.json["required"] == ["model", "data", "objective", "output_dir"])
        #expect(ConfigSchema.json["additionalProperties"] == false)
    }

    @Test func everyKeyIsDocumented() {
        func check(_ keys: [any AnyKey]) {
            for key in keys {
                #expect(
                    key.spec.help.hasSuffix(".") || key.spec.help.contains(":"), "\(key.spec.name)")
                #expect(
                    ConfigSchema.markdown.contains("| `\(key.spec.name)` |"), "\(key.spec.name)")
                check(key.sections ?? [])
            }
        }
        check(RunConfig().keys)
    }

    @Test func aliasesPointToKeysThatExist() {
        for (section, names) in ConfigAliases.keys {
            let keys = RunConfig().keys.first { $0.spec.name == section }?.sections?.map(
                \.spec.name)
            for (alias, name) in names {
                #expect(keys?.contains(name) == true, "\(section).\(alias)")
                #expect(keys?.contains(alias) == false, "\(section).\(alias)")
            }
        }
    }

    @Test func parameterAliasesGiveWayToThePlugin() {
        let given: JSONObject = ["cliprange": 0.2, "lmbda": 0.9, "other": 1]
        var notes: [String] = []
        let read = ConfigAliases.parameters(given, known: ["clip_range", "lmbda"]) {
            notes.append("\($0) -> \($1)")
        }
        #expect(read.keys == ["clip_range", "lmbda", "other"])
        #expect(notes == ["cliprange -> clip_range"])
    }
}
