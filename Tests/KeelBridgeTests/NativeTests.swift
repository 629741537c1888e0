import Foundation
import KeelCore
import Testing

@testable import KeelBridge

/// The worker's calls of C functions, here made in process: `native.c` compiled as a plugin.
enum NativeZoo {
    /// Component name, symbol, signature and declared parameters.
    static let functions: [(name: String, symbol: String, signature: String, parameters: String)] =
        [
            ("length_of", "length_of", "f64(str response)", ""),
            ("bytes_of", "bytes_of", "f64(buf response)", ""),
            ("prompt_bytes", "bytes_of", "f64(buf prompt)", ""),
            ("row_bytes", "bytes_of", "f64(buf row)", ""),
            ("field_bytes", "bytes_of", "f64(buf field:/text)", ""),
            ("half", "half", "f32(f32 field:/x)", ""),
            (
                "minus", "minus", "f64(f64 field:/x, i32 param:b)",
                "KEEL_PARAM_I64(\"b\", 1, 0, 0, \"\")"
            ),
            ("wide", "wide", "i64(i64 field:/x)", ""),
            ("int_field", "minus", "f64(f64 field:/x, i32 field:/x)", ""),
            ("negative", "negative", "i32(str response)", ""),
            ("is_same", "is_same", "bool(str response, str field:/text)", ""),
            ("last_token", "last_token", "f64(buf tokens)", ""),
            ("never", "never", "f64(str response)", ""),
            ("constant", "constant", "f64()", ""),
            (
                "powers", "powers", "f64(f64 param:base, i32 param:exponent, str param:mode)",
                "KEEL_PARAM_F64(\"base\", 2, 0, 0, \"\"), KEEL_PARAM_I64(\"exponent\", 3, 0, 0, \"\"), KEEL_PARAM_STR(\"mode\", \"plain\", \"\")"
            ),
            (
                "many", "many",
                "f64(f64 field:/x, f64 field:/x, f64 field:/x, f64 field:/x, f64 field:/x, f64 field:/x, f64 field:/x, f64 field:/x, f64 field:/x, i32 field:/n, buf field:/text, i64 field:/n, f32 field:/x, i64 field:/n, i64 field:/n)",
                ""
            ),
            (
                "ranks", "ranks", "void(strs response, size rows, f32 out, f64 param:bonus)",
                "KEEL_PARAM_F64(\"bonus\", 0.5, 0, 0, \"\")"
            ),
            ("some", "some", "void(size rows, strs response, strs field:/text, f64 out)", ""),
            ("greedy", "greedy", "void(strs response, size rows, f32 out)", ""),
            ("nowhere", "nowhere", "f64(str response)", ""),
        ]

    static let library = Result {
        try Zoo.compile(
            Zoo.root.appendingPathComponent("Tests/Fixtures/native/functions.c").path, "functions")
    }

    static let plugin = Result {
        let source = Zoo.root.appendingPathComponent("Sources/keel-worker").path
        var text = "#include \"\(source)/native.c\"\n"
        for function in functions {
            let lines = try NativeSignature(function.signature).lines.replacingOccurrences(
                of: "\n", with: "\\n")
            let parameters =
                function.parameters.isEmpty ? "" : "KEEL_PARAMS(\(function.parameters)), "
            text += """
                static const native_function \(function.name)_f = {"\(try library.get())", "\(function.symbol)", "\(lines)"};
                static const keel_component \(function.name)_c = KEEL_REWARD(.name = "\(function.name)", KEEL_NEEDS("tokens"), \(parameters)
                  .user = &\(function.name)_f, .create = native_create, .destroy = native_destroy, .score = native_score);

                """
        }
        let list = functions.map { "&\($0.name)_c" }.joined(separator: ", ")
        text += "KEEL_PLUGIN(\"test.native\", \"1.0\", \(list))\n"
        return try Zoo.build("native_plugin", text, ["-D_GNU_SOURCE", "-lffi", "-lm"])
    }

    static func reward(_ name: String, _ params: JSONObject = [:]) throws -> InProcessReward {
        let component = try Zoo.catalog.find("\(try plugin.get())#\(name)", kind: .reward)
        return try InProcessReward(
            component, catalog: Zoo.catalog, parameters: try component.validate(params: params))
    }

    /// The scores of some rows, as text.
    static func scores(
        _ name: String, _ rows: [(String, JSON)], _ params: JSONObject = [:]
    ) throws -> [String] {
        let reward = try reward(name, params)
        let all = rows.enumerated().map { i, row in
            RewardRow(
                id: UInt64(i), prompt: Array("Why?".utf8), response: Array(row.0.utf8),
                tokens: [5, Int32(i + 6)], promptTokens: [1, 2, 3], row: row.1)
        }
        try reward.submit(all, context: CallContext())
        return try reward.collect().map { $0.value.description }
    }
}

@Suite struct NativeTests {
    static let cases:
        [(name: String, rows: [(String, JSON)], params: JSONObject, scores: [String])] =
            [
                (
                    "length_of", [("abc", [:]), ("", [:]), ("a\0c", [:])], [:],
                    ["3.0", "0.0", "1.0"]
                ),
                (
                    "bytes_of", [("abc", [:]), ("", [:]), ("a\0c", [:])], [:],
                    ["3.0", "0.0", "3.0"]
                ),
                ("prompt_bytes", [("", [:])], [:], ["4.0"]),
                ("row_bytes", [("", ["a": 1])], [:], ["7.0"]),
                (
                    "field_bytes",
                    [
                        ("", ["text": "four"]), ("", ["text": .null]), ("", [:]),
                        ("", ["text": 17.5]),
                        ("", ["text": ["a"]]), ("", ["text": ""]),
                    ], [:], ["4.0", "nan", "nan", "4.0", "5.0", "0.0"]
                ),
                (
                    "half",
                    [
                        ("", ["x": 3]), ("", ["x": " 5e-1 "]), ("", ["x": true]),
                        ("", ["x": .null]),
                        ("", [:]),
                    ], [:],
                    ["1.5", "0.25", "0.5", "nan", "nan"]
                ),
                ("minus", [("", ["x": 3.5])], [:], ["2.5"]),
                ("minus", [("", ["x": 3.5])], ["b": -2_147_483_648], ["2.1474836e+09"]),
                (
                    "wide", [("", ["x": .int(.max)]), ("", ["x": "1e3"])], [:],
                    ["9.223372e+18", "1000.0"]
                ),
                ("int_field", [("", ["x": -7])], [:], ["0.0"]),
                ("negative", [("four", [:])], [:], ["-4.0"]),
                (
                    "is_same", [("é", ["text": "é"]), ("a", ["text": "b"]), ("a", [:])], [:],
                    ["1.0", "0.0", "nan"]
                ),
                ("last_token", [("", [:]), ("", [:])], [:], ["6.0", "7.0"]),
                ("never", [("a", [:]), ("", [:])], [:], ["nan", "1.0"]),
                ("constant", [("a", [:])], [:], ["42.0"]),
                ("powers", [("a", [:])], [:], ["8.0"]),
                ("powers", [("a", [:])], ["base": 3, "exponent": 2, "mode": "negative"], ["-9.0"]),
                ("many", [("", ["x": 0.5, "n": 10, "text": "Az"])], [:], ["112.0"]),
                ("ranks", [("aa", [:]), ("a", [:]), ("aaa", [:])], [:], ["1.5", "0.5", "2.5"]),
                (
                    "some",
                    [
                        ("x", ["text": "x"]), ("x", [:]), ("x", ["text": "y"]),
                        ("z", ["text": "z"]),
                    ], [:], ["3.0", "nan", "nan", "3.0"]
                ),
                ("some", [("x", [:])], [:], ["nan"]),
            ]

    @Test(arguments: 0..<cases.count) func argumentsArriveAndScoresReturn(_ number: Int) throws {
        let one = NativeTests.cases[number]
        #expect(try NativeZoo.scores(one.name, one.rows, one.params) == one.scores)
    }

    @Test(arguments: [
        ("half", "x", JSON.string("a lot"), "the field /x is not a number that a float holds"),
        ("half", "x", JSON.array(["a"]), "the field /x is not a number that a float holds"),
        ("half", "x", 1e300, "the field /x is not a number that a float holds"),
        ("half", "x", .string(""), "the field /x is not a number that a float holds"),
        ("minus", "x", .string("0x10"), "the field /x is not a number"),
        ("minus", "x", .string("nan"), "the field /x is not a number"),
        ("wide", "x", 1.5, "the field /x is not an integer of 64 bits"),
        (
            "wide", "x", .string("9223372036854775808"),
            "the field /x is not an integer of 64 bits"
        ),
        ("int_field", "x", .int(2_147_483_648), "the field /x is not an integer of 32 bits"),
    ]) func whatIsNoNumberIsAnError(
        _ name: String, _ field: String, _ value: JSON, _ expected: String
    ) throws {
        let text = message {
            _ = try NativeZoo.scores(name, [("", .object([field: value]))])
        }
        #expect(text.contains("\(name)\": \(expected)\n"), "\(text)")
        #expect(text.contains("score, step 0, row 0"), "\(text)")
    }

    @Test func aBatchFunctionThatWritesTooMuchIsCaught() throws {
        let text = message { _ = try NativeZoo.scores("greedy", [("a", [:]), ("b", [:])]) }
        #expect(text.contains("the function wrote past the end of its scores"), "\(text)")
    }

    @Test func aMissingFunctionIsNamed() throws {
        let text = message { _ = try NativeZoo.reward("nowhere") }
        #expect(text.contains("the library has no function nowhere"), "\(text)")
    }

    /// Buffers grow and shrink with the rows without mixing them up.
    @Test func rowsOfAllSizesKeepApart() throws {
        let sizes = [0, 3000, 1, 70_000, 5, 256, 257, 1_000_000, 2]
        let rows = sizes.map { (String(repeating: "x", count: $0), JSON.object(["text": "x"])) }
        let expected = sizes.map { Float($0).description }
        #expect(try NativeZoo.scores("length_of", rows) == expected)
        #expect(
            try NativeZoo.scores("ranks", rows, ["bonus": 0])
                == sizes.map { size in Float(sizes.count { $0 < size }).description })
    }
}

@Suite struct NativeFunctionTests {
    private func component(
        _ symbol: String, _ signature: String = "f64(str response)"
    ) throws
        -> Component
    {
        try NativeFunction(
            library: try NativeZoo.library.get(), symbol: symbol,
            signature: try NativeSignature(signature)
        ).component()
    }

    @Test func aFunctionIsAReward() throws {
        let component = try component("minus", "f64(f64 field:/x, i32 param:b, str param:c)")
        #expect(component.kind == .reward)
        #expect(component.title == "reward \"minus\"")
        #expect(component.parameters.map(\.name) == ["b", "c"])
        #expect(component.parameters.map(\.kind) == [.integer, .string])
        #expect(component.path == (try NativeZoo.library.get()))
        #expect(component.sha256.count == 64)
        #expect(component.needs.isEmpty)
        #expect(try self.component("last_token", "f64(buf tokens)").needs == ["tokens"])
    }

    @Test(arguments: [
        (
            "lenght_of", "functions.so exports no function \"lenght_of\"",
            "did you mean \"length_of\"?"
        ),
        (
            "shared_counter", "\"shared_counter\" of functions.so is data, not a function",
            "name a function"
        ),
        (
            "something_else_entirely",
            "functions.so exports no function \"something_else_entirely\"",
            "it exports bytes_of, constant, crash, greedy, half, is_same, last_token, leave and 9 more"
        ),
    ]) func aSymbolThatIsNoneIsRefused(_ symbol: String, _ what: String, _ fix: String) throws {
        let text = message { _ = try component(symbol) }
        #expect(
            text == """
                error[native]: \(what)
                  at:  \(try NativeZoo.library.get())
                  fix: \(fix)
                """)
    }

    @Test func aCxxNameIsExplained() throws {
        let source = "\(Zoo.folder)/mangled.c"
        try "double _Z4bleuPKc(const char *a) { return a != 0; }".write(
            toFile: source, atomically: true, encoding: .utf8)
        let library = try Zoo.compile(source, "mangled")
        let function = NativeFunction(
            library: library, symbol: "bleu", signature: try NativeSignature("f64(str response)"))
        #expect(
            message { _ = try function.component() }.hasSuffix(
                "fix: it is a C++ function: declare it extern \"C\", or name it \"_Z4bleuPKc\""))
    }

    @Test func aFileThatIsNoLibraryIsRefused() throws {
        let path = "\(Zoo.folder)/script.so"
        try String(repeating: "GROUP ( /lib/libm.so.6 ) ", count: 8).write(
            toFile: path, atomically: true, encoding: .utf8)
        let function = NativeFunction(
            library: path, symbol: "cos", signature: try NativeSignature("f64(f64 field:/x)"))
        #expect(
            message { _ = try function.component() } == """
                error[native]: script.so is not a shared library (no ELF header)
                  at:  \(path)
                  fix: name the library itself (a file such as libm.so can be a text that names it: libm.so.6)
                """)
    }

    @Test func theLoadersLibrariesAreFound() throws {
        let path = try #require(NativeFunction.find(library: "libm.so.6"))
        #expect(path.hasSuffix("/libm.so.6"))
        let cos = NativeFunction(
            library: path, symbol: "cos", signature: try NativeSignature("f64(f64 field:/x)"))
        #expect(try cos.component().name == "cos")
        #expect(NativeFunction.find(library: "libnowhere.so") == nil)
        #expect(NativeFunction.find(library: "./libm.so.6") == nil)
    }

    @Test func parametersAreThoseOfTheSignature() throws {
        let function = NativeFunction(
            library: "x.so", symbol: "bleu",
            signature: try NativeSignature(
                "f64(str response, i32 param:order, f32 param:scale, str param:mode, i64 param:big)"
            )
        )
        func errors(_ params: JSONObject) -> String {
            message { _ = try function.validate(params: params) { "c.json/\($0)" } }
        }
        let good: JSONObject = [
            "scale": 2, "order": 4, "mode": "a", "big": .int(.max),
        ]
        let values = try function.validate(params: good) { _ in nil }
        #expect(
            values.values == [
                "order": 4, "scale": .double(2), "mode": "a", "big": .int(.max),
            ])
        #expect(
            errors(["ordr": 4, "order": 3_000_000_000, "scale": 1e300, "mode": 3]) == """
                error[native]: the signature of native function "bleu" does not use the parameter "ordr"
                  at:  c.json/ordr
                  fix: did you mean "order"? it uses: order, scale, mode, big
                error[native]: parameter "order" of native function "bleu" is 3000000000, but its signature takes an integer of 32 bits
                  at:  c.json/order
                  fix: give it an integer of 32 bits, or change its type
                error[native]: parameter "scale" of native function "bleu" is 1e+300, but its signature takes a number that a float holds
                  at:  c.json/scale
                  fix: give it a number that a float holds, or change its type
                error[native]: parameter "mode" of native function "bleu" is 3, but its signature takes a string
                  at:  c.json/mode
                  fix: give it a string, or change its type
                error[native]: native function "bleu" needs the parameter "big"
                  at:  c.json/
                  fix: add "big": 4 to "params"
                """)
    }
}
