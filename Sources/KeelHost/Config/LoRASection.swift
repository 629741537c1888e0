import KeelCore
import KeelModel

/// `model.lora`: PEFT's `LoraConfig`.
package struct LoRASection: ConfigSection {
    @Key("r", .within(1, 8192), "Rank of the updates.") package var rank = 8

    @Key("lora_alpha", .above(0), "An update is multiplied by lora_alpha / r.")
    package var alpha = 16.0

    @Key(
        "lora_dropout", .within(0, 0.95),
        "Share of a changed layer's input that training sets to 0.")
    package var dropout = 0.0

    @Key("target_modules", "Ends of the names of linear layers, or all of the blocks.")
    package var targets = TargetModules.allLinear

    @Key("rank_pattern", "Other ranks: end of a layer's name -> rank.")
    package var rankPattern = JSONObject()

    @Key("alpha_pattern", "Other alphas: end of a layer's name -> alpha.")
    package var alphaPattern = JSONObject()

    @Key("use_rslora", "Multiplies by lora_alpha / sqrt(r) instead.")
    package var usesRankStabilisation = false

    @Key("modules_to_save", "Modules that are trained whole: lm_head, embed_tokens.")
    package var modulesToSave: [String] = []

    @Key(
        "ensure_weight_tying",
        "Keeps embedding and head of a tied model one tensor where one of them is in modules_to_save."
    )
    package var tiesWeights = false

    package init() {}

    /// The engine's form.
    ///
    /// - Throws: `KeelError` (badData) for patterns that are no numbers.
    func config(at place: String) throws -> LoRAConfig {
        var object: JSONObject = [
            "r": JSON(rank), "lora_alpha": .double(alpha), "lora_dropout": .double(dropout),
            "rank_pattern": .object(rankPattern), "alpha_pattern": .object(alphaPattern),
            "use_rslora": .bool(usesRankStabilisation),
            "modules_to_save": .array(modulesToSave.map { .string($0) }),
            "ensure_weight_tying": .bool(tiesWeights),
        ]
        object["target_modules"] = targets.json
        return try LoRAConfig(.object(object), path: place)
    }
}

/// `"all-linear"`, or names.
package enum TargetModules: ConfigValue, Equatable {
    case allLinear
    case names([String])

    package static func read(
        _ value: JSON, _ spec: KeySpec, _ path: String, _ reader: ConfigReader
    ) -> TargetModules? {
        if value == .string("all-linear") { return .allLinear }
        if let list = value.array, !list.isEmpty, list.allSatisfy({ $0.string?.isEmpty == false }) {
            return .names(list.compactMap(\.string))
        }
        reader.wrongType(value, typeName(spec), path)
        return nil
    }

    package var json: JSON {
        switch self {
        case .allLinear: "all-linear"
        case .names(let names): .array(names.map { .string($0) })
        }
    }

    package static func schema(_ spec: KeySpec) -> JSONObject {
        ["anyOf": [["enum": ["all-linear"]], ["type": "array", "items": ["type": "string"]]]]
    }

    package static func typeName(_ spec: KeySpec) -> String {
        "\"all-linear\" or a list of names"
    }
}
