import KeelCore
import KeelModel
import KeelTensor
import KeelTestSupport
import Testing

@Suite struct ModelConfigTests {
    static let llama: JSONObject = [
        "model_type": "llama", "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    ]

    private func config(_ changes: JSONObject, of base: JSONObject = llama) -> ModelConfig {
        var object = base
        for (key, value) in changes { object[key] = value }
        return ModelConfig(object, path: "config.json")
    }

    @Test(
        arguments: [
            ["rope_theta": 500_000.0],
            ["rope_parameters": ["rope_theta": 500_000.0, "rope_type": "default"]],
            ["rope_theta": 500_000.0, "rope_scaling": nil],
        ] as [JSONObject])
    func bothSpellingsOfRope(changes: JSONObject) throws {
        let rope = try Families.architecture(of: config(changes)).blocks[1].attention.rope
        #expect(rope == Rope(theta: 500_000, dimensions: 4))
        #expect(rope?.frequencies[0] == 1)
    }

    @Test(
        arguments: [
            ["torch_dtype": "bfloat16"], ["dtype": "bfloat16"], ["torch_dtype": "torch.bfloat16"],
        ] as [JSONObject])
    func bothSpellingsOfType(changes: JSONObject) {
        #expect(config(changes).dtypeName == "bfloat16")
    }

    @Test func oneOrSeveralEndIDs() {
        #expect(config(["eos_token_id": 2]).eosIDs == [2])
        #expect(config(["eos_token_id": [7, 9]]).eosIDs == [7, 9])
        #expect(config(["eos_token_id": nil]).eosIDs == [])
    }

    @Test func headSizeMayStandByItself() throws {
        let attention = try Families.architecture(of: config(["head_dim": 6])).blocks[0].attention
        #expect(attention.headSize == 6)
        #expect(attention.output.weight.shape == [16, 24])
    }

    @Test(
        arguments: [
            (["rope_scaling": ["rope_type": "llama3", "factor": 8.0]], "low_freq_factor"),
            (["rope_parameters": ["rope_type": "ntk", "rope_theta": 1e4]], "\"ntk\""),
            (["rope_parameters": ["rope_type": "dynamic"]], "no \"rope_parameters.factor\""),
            (
                [
                    "rope_parameters": [
                        "rope_type": "longrope", "factor": 4.0,
                        "original_max_position_embeddings": 8,
                    ]
                ], "no \"rope_parameters.short_factor\""
            ),
            (
                [
                    "rope_parameters": [
                        "rope_type": "longrope", "factor": 4.0, "short_factor": [1.0, 1.5],
                        "long_factor": [1.0, "x"], "original_max_position_embeddings": 8,
                    ]
                ], "not a list of 2 positive numbers"
            ),
            (["rope_scaling": ["type": "linear", "factor": 0]], "0.0 is not positive"),
            (["partial_rotary_factor": 1e300], "no even number"),
            (["vision_config": ["depth": 2]], "a model with a vision part"),
            (["model_type": "mixtral", "num_local_experts": 8], "a mixture of experts"),
            (
                [
                    "model_type": "qwen2", "use_sliding_window": true, "sliding_window": 4,
                    "layer_types": ["full_attention", "linear_attention"],
                ], "\"linear_attention\""
            ),
            (["model_type": "gemma3_text", "layer_types": ["full_attention"]], "list of 2 layers"),
            (["quantization_config": ["quant_method": "gptq"]], "gptq"),
            (["num_local_experts": 8], "experts"),
            (
                ["architectures": ["LlamaForTokenClassification"]],
                "LlamaForTokenClassification"
            ),
            (["hidden_act": "mish"], "mish"),
            (["model_type": "lama"], "did you mean \"llama\""),
            (["num_key_value_heads": 3], "4 heads cannot share 3"),
            (["hidden_size": "16"], "\"16\" is not an integer"),
            (["hidden_size": -16], "-16 is not an integer"),
            (["num_attention_heads": 4_611_686_018_427_387_904], "is not an integer in"),
            (["vocab_size": nil], "no \"vocab_size\""),
            (["rms_norm_eps": "tiny"], "is not a number"),
        ] as [(JSONObject, String)])
    func whatCannotBeDoneIsNamed(changes: JSONObject, words: String) throws {
        let error = try #require(throws: KeelError.self) {
            _ = try Families.architecture(of: config(changes))
        }
        #expect(error.code == .badData)
        #expect(error.description.contains(words), "\(error)")
        #expect(error.at?.hasPrefix("config.json") == true)
    }

    @Test func aHostileSizeIsRefusedNotAllocated() {
        let huge = config([
            "hidden_size": 16_777_216, "vocab_size": 16_777_216, "num_hidden_layers": 9999,
        ])
        // Describing it is fine: no tensor is made.
        #expect(throws: Never.self) {
            _ = try Families.architecture(of: huge).weights.reduce(0) { $0 + $1.count }
        }
    }

    /// What transformers 5.23 computes for a head of 16: frequencies and the factor on cosine and sine.
    @Test(
        arguments: [
            (
                ["rope_type": "linear", "factor": 4.0, "rope_theta": 10_000.0],
                [
                    0.25, 0.07905694097280502, 0.02500000037252903, 0.007905694656074047,
                    0.0024999999441206455, 0.0007905694656074047, 0.0002500000118743628,
                    7.905694656074047e-05,
                ], 1
            ),
            (
                [
                    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
                    "rope_theta": 500_000.0,
                ],
                [
                    1.0, 0.07940301299095154, 0.004700753837823868, 0.0009115831344388425,
                    0.00017677668074611574, 3.428102354519069e-05, 6.647869668086059e-06,
                    1.289173155782919e-06,
                ], 1
            ),
            (
                [
                    "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128,
                    "rope_theta": 10_000.0,
                ],
                [
                    1.0, 0.23717081546783447, 0.04999999701976776, 0.007905694656074047,
                    0.0024999999441206455, 0.0007905694656074047, 0.0002500000118743628,
                    7.905694656074047e-05,
                ], 1.138629436111989
            ),
            (
                [
                    "rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64,
                    "rope_theta": 10_000.0, "beta_fast": 16.0, "beta_slow": 2.0,
                    "attention_factor": 1.25,
                ],
                [
                    1.0, 0.17787811160087585, 0.012500000186264515, 0.0039528473280370235,
                    0.0012499999720603228, 0.00039528473280370235, 0.0001250000059371814,
                    3.9528473280370235e-05,
                ], 1.25
            ),
            (
                ["rope_type": "dynamic", "factor": 4.0, "rope_theta": 10_000.0],
                [
                    1.0, 0.3162277638912201, 0.10000000149011612, 0.03162277862429619,
                    0.009999999776482582, 0.003162277862429619, 0.0010000000474974513,
                    0.0003162277862429619,
                ], 1
            ),
            (
                longrope(),
                [
                    1.0, 0.2874797582626343, 0.0833333358168602, 0.024325214326381683,
                    0.0071428571827709675, 0.0021081853192299604, 0.0006249999860301614,
                    0.0001860163320088759,
                ], 1.1338934190276817
            ),
            (
                longrope(["attention_factor": 1.25, "rope_type": "su"]),
                [
                    1.0, 0.2874797582626343, 0.0833333358168602, 0.024325214326381683,
                    0.0071428571827709675, 0.0021081853192299604, 0.0006249999860301614,
                    0.0001860163320088759,
                ], 1.25
            ),
        ] as [(JSONObject, [Double], Double)])
    func stretchedPositions(settings: JSONObject, frequencies: [Double], scale: Double) throws {
        let changes: JSONObject = ["head_dim": 16, "rope_parameters": .object(settings)]
        let rope = try #require(
            try Families.architecture(of: config(changes)).blocks[0].attention.rope)
        // A few roundings in f32.
        expectClose(
            rope.frequencies.map(Double.init), frequencies, Tolerance(relative: 5e-7))
        expectClose([Double(rope.scale)], [scale], Tolerance(relative: 1e-7))
    }

    /// Of a model that was made for 128 tokens and stretched to 512.
    private static func longrope(_ changes: JSONObject = [:]) -> JSONObject {
        var settings: JSONObject = [
            "rope_type": "longrope", "rope_theta": 10_000.0, "factor": 4.0,
            "original_max_position_embeddings": 128,
            "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7],
            "long_factor": [2.0, 2.3, 2.6, 2.9, 3.2, 3.5, 3.8, 4.1],
        ]
        for (key, value) in changes { settings[key] = value }
        return settings
    }

    /// Beyond the length at which positions change, a model is refused: its frequencies would depend on the row's end.
    @Test(arguments: ["longrope", "dynamic", "default"])
    func howFarPositionsReach(kind: String) throws {
        let settings = Self.longrope(["rope_type": .string(kind)])
        let config = config([
            "head_dim": 16, "max_position_embeddings": 512, "rope_parameters": .object(settings),
        ])
        let architecture = try Families.architecture(of: config)
        let reach = ["longrope": 128, "dynamic": 512][kind]
        #expect(architecture.reach == reach)
        #expect(architecture.contextLength == reach ?? 512)
        let model = try Model.new(config, seed: 1, device: testDevice)
        func pass(_ count: Int) throws {
            let ids = [Int32](repeating: 3, count: count)
            _ = try model.logprobs(
                PackedBatch(sequences: [ids], promptLengths: [1]), tape: Tape(recording: false))
        }
        try pass(128)
        guard let reach else { return try pass(600) }
        try pass(reach)
        let error = try #require(throws: KeelError.self) { try pass(reach + 1) }
        #expect(
            error.what == "a sequence of \(reach + 1) tokens; the model has \(reach) positions")
    }

    @Test func windowsStandWhereTheConfigSays() throws {
        func windows(_ changes: JSONObject) throws -> [Int?] {
            try Families.architecture(of: config(changes)).blocks.map(\.attention.window)
        }
        #expect(try windows(["model_type": "mistral", "sliding_window": nil]) == [nil, nil])
        #expect(try windows(["model_type": "mistral", "sliding_window": 5]) == [5, 5])
        #expect(try windows(["model_type": "qwen2", "sliding_window": 5]) == [nil, nil])
        let upper: JSONObject = [
            "model_type": "qwen2", "sliding_window": 5, "use_sliding_window": true,
            "max_window_layers": 1,
        ]
        #expect(try windows(upper) == [nil, 5])
        #expect(try windows(["model_type": "gemma2", "sliding_window": 5]) == [5, nil])
        #expect(
            try windows([
                "model_type": "gemma3_text", "sliding_window": 5, "sliding_window_pattern": 2,
            ]) == [5, nil])
    }

    /// Whatever a key holds: an architecture that can be counted, or an error; never a trap.
    @Test(arguments: VectorTests.names)
    func hostileValues(name: String) throws {
        let base = try ModelConfig(path: Fixture.path("models/\(name)/config.json")).source
        let values: [JSON] = [
            nil, -1, 0, 1, 3, 7, 1e300, -0.5, 9_223_372_036_854_775_807, 16_777_216, 16_384, "x",
            "", [], [[]],
            .object([:]), true, false,
        ]
        for key in base.keys + [
            "rope_parameters", "head_dim", "n_inner", "hidden_size", "attention_bias",
            "rope_scaling", "layer_types", "partial_rotary_factor", "sliding_window_pattern",
        ] {
            for value in values {
                var changed = base
                changed[key] = value
                do {
                    let architecture = try Families.architecture(
                        of: ModelConfig(changed, path: "config.json"))
                    #expect(architecture.weights.reduce(0) { $0 + $1.count } > 0)
                } catch is KeelError {}
            }
        }
    }

    @Test func gpt2ProjectionsIntoTheResidualStartSmaller() throws {
        let architecture = try Families.architecture(
            of: config(
                [:],
                of: [
                    "model_type": "gpt2", "vocab_size": 8, "n_embd": 4, "n_head": 2, "n_layer": 2,
                    "n_positions": 4,
                ]))
        #expect(architecture.blocks[0].mlp.down.weight.start == .normal(0.5))
        #expect(architecture.blocks[0].attention.output.weight.start == .normal(0.5))
        #expect(architecture.embedding.start == .normal(1))
        #expect(architecture.isTied)
    }
}
