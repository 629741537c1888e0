import KeelCore
import Testing

@Suite struct JSONTests {
    @Test func valuesRoundTrip() throws {
        let text =
            #"{"a": [1, -2.5, 1e300, "\u00e9\n\u0000"], "b": {"c": null, "d": true}, "e": 18446744073709551615}"#
        let value = try JSON.parse(text)
        #expect(value["a"]?[0]?.int == 1)
        #expect(value["a"]?[1]?.double == -2.5)
        #expect(value["a"]?[3]?.string == "é\n\0")
        #expect(value["b"]?.object?.keys == ["c", "d"])
        #expect(value["e"]?.double == 18_446_744_073_709_551_616)
        #expect(try JSON.parse(value.text()) == value)
        #expect(try JSON.parse(value.text(pretty: true)) == value)
    }

    @Test(arguments: [
        ("", 1), ("   ", 4), ("{", 2), ("[1,]", 4), ("{'a':1}", 2), ("[NaN]", 2), ("[1.]", 2),
        ("[1 2]", 4),
        ("{\"a\":1} x", 9), ("\"abc", 1), ("[99999999999999999999]", 2), ("[1e999]", 2),
        ("// c\n1", 1),
        ("[\"a\nb\"]", 2), ("1\u{0}", 2), ("{\"a\\u0000b\":1}", 2), ("tru", 4),
    ])
    func badTextIsRefusedWithItsPlace(text: String, column: Int) {
        #expect {
            try JSON.parse(text, name: "x.json", duplicates: .reject)
        } throws: { error in
            guard let error = error as? KeelError, let at = error.at else { return false }
            return error.code == .badData && at.hasPrefix("x.json:")
        }
    }

    @Test func duplicateKeysAreRefusedOnRequest() throws {
        let text = #"{"a": 1, "b": {"a": 2}, "\u0061": 3}"#
        #expect(try JSON.parse(text)["a"]?.int != nil)
        #expect(throws: KeelError.self) { try JSON.parse(text, duplicates: .reject) }
    }

    @Test func deepNestingIsRefused() {
        let text = String(repeating: "[", count: 100_000) + String(repeating: "]", count: 100_000)
        #expect(throws: KeelError.self) { try JSON.parse(text) }
    }

    @Test func everyCutOfAValueIsRefusedOrParsed() throws {
        let bytes = Array(#"{"a":[1,2.5e3,"é\u00e9"],"b":{"c":null}}"#.utf8)
        for end in 0..<bytes.count {
            #expect(throws: KeelError.self) { try JSON.parse(Array(bytes[..<end]), name: "cut") }
        }
    }

    @Test func pointersFollowRFC6901() throws {
        let value = try JSON.parse(#"{"a": [{"b/c": 1, "m~n": 2}]}"#)
        #expect(value.value(at: "/a/0/b~1c")?.int == 1)
        #expect(value.value(at: "/a/0/m~0n")?.int == 2)
        #expect(value.value(at: "/a/1") == nil)
        #expect(value.value(at: "") == value)
    }

    @Test func commentsAreBlankedAndKeysPlaced() throws {
        let text = "{ // one\n \"train\": { /* two */ \"lr\": 1 }, \"list\": [ {\"x\": 2} ] }"
        let scan = try Array(text.utf8).withUnsafeBytes {
            try JSONScanner.scan(
                $0, name: "c.json", options: [.comments, .keyOffsets], duplicates: .reject)
        }
        #expect(try JSON.parse(scan.cleaned, name: "c.json")["train"]?["lr"]?.int == 1)
        #expect(
            scan.keyOffsets["train.lr"]
                == text.utf8.distance(from: text.startIndex, to: text.range(of: "\"lr\"")))
        #expect(scan.keyOffsets["list.0.x"] != nil)
    }
}

extension String {
    fileprivate func range(of needle: String) -> String.Index {
        var at = startIndex
        while at < endIndex, !self[at...].hasPrefix(needle) { at = index(after: at) }
        return at
    }
}
