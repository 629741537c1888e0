import KeelCore
import KeelTestSupport
import Testing

@testable import KeelHost

@Suite struct ValueTableTests {
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    @Test func csv() throws {
        try folder.write(
            "t.csv",
            "method,reward,reward_low,reward_high,note,kl\r\n\"a \"\"b\"\", c\",1,0.5,1.5,fine,\r\nd,2,,,x,3\r\n\r\n"
        )
        let table = try ValueTable(folder.path("t.csv"))
        #expect(table.labels == ["a \"b\", c", "d"])
        #expect(table.names == ["reward", "kl"])
        let rows = table.plot("reward", band: .range).rows
        #expect(rows.map(\.value) == [.init(value: 1, low: 0.5, high: 1.5), .init(value: 2)])
        #expect(table.plot("kl", band: .range).rows.map(\.value) == [nil, .init(value: 3)])
    }

    @Test(arguments: ["t.json", "t.jsonl"])
    func json(_ name: String) throws {
        let rows = [
            "{\"method\": \"a\", \"win_rate\": 0.5, \"win_rate_interval_95\": [0.4, 0.6]}",
            "{\"win_rate\": 1, \"method\": \"b\"}",
        ]
        try folder.write(
            name,
            name == "t.json"
                ? "[\(rows.joined(separator: ","))]" : rows.joined(separator: "\n") + "\n")
        let table = try ValueTable(folder.path(name))
        #expect(table.names == ["win_rate"])
        #expect(
            table.plot("win_rate", band: .range).rows.map(\.value)
                == [.init(value: 0.5, low: 0.4, high: 0.6), .init(value: 1)])
    }

    @Test func rowsOfOneNameAreMeasuredAgain() throws {
        try folder.write("t.csv", "m,x\na,1\nb,7\na,3\na,5\n")
        let table = try ValueTable(folder.path("t.csv"))
        #expect(table.hasRepeats)
        let rows = table.plot("x", band: .sd).rows
        #expect(rows.map(\.label) == ["a", "b"])
        #expect(rows[0].parts == [1, 3, 5])
        #expect(rows[0].value == .init(value: 3, low: 1, high: 5))
        #expect(rows[1].value == .init(value: 7))
    }

    @Test(arguments: [
        ("t.csv", "", "the table has no header of two columns or more"),
        ("t.csv", "a,b\n", "the table has no rows"),
        ("t.csv", "a,b\nx,y\n", "the table has no column of numbers"),
        ("t.csv", "a,b\nx,1,2\n", "3 cells under a header of 2"),
        ("t.json", "{}", "the table is no list"),
        ("t.json", "[{\"a\": 1}]", "a row without a name"),
    ])
    func badTables(_ name: String, _ text: String, _ expected: String) throws {
        try folder.write(name, text)
        let error = #expect(throws: KeelError.self) { try ValueTable(folder.path(name)) }
        #expect(error?.what == expected)
        #expect(error?.code == .badData && error?.fix != nil)
    }
}
